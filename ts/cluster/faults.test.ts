/** Kinds of faults are told apart and counted. */

import { beforeEach, expect, test } from 'vitest'
import { type Fault, FaultClassifier } from './faults.js'
import { fromRegisters, type LocalState, toRegisters } from './local-state.js'
import type { MemberRecord } from './messages.js'

const WINDOW_MS = 6000
let faults: FaultClassifier
let told: Fault[]

beforeEach(() => {
  told = []
  faults = new FaultClassifier(WINDOW_MS, (fault) => told.push(fault))
})

const member = (name: string, status: MemberRecord['status'] = 'alive', generation = 1) => ({
  name,
  address: 'h:1',
  generation,
  incarnation: generation,
  status,
})
const die = (now: number, name: string, present: number) =>
  faults.happened(
    now,
    { kind: 'failed', member: member(name, 'dead'), previous: member(name, 'suspect') },
    present,
  )
const comeBack = (now: number, name: string, generation: number) =>
  faults.happened(
    now,
    { kind: 'alive', member: member(name, 'alive', generation), previous: member(name, 'dead') },
    3,
  )
const says = (state: Partial<LocalState>, generation = 1) =>
  faults.says(0, member('a', 'alive', generation), fromRegisters(toRegisters(state)))

test('one of three that dies is a failed node, over when it has started anew', () => {
  die(0, 'a', 2)
  expect(faults.open).toEqual([{ kind: 'node_failure', member: 'a', subject: '', since: 0 }])
  comeBack(100, 'a', 2)
  expect(faults.open).toEqual([])
  expect(faults.counts).toMatchObject({ node_failure: 1, partition: 0 })
})

test('half of a cluster that dies at once is a partition', () => {
  die(0, 'a', 3)
  die(100, 'b', 2)
  expect(faults.counts).toMatchObject({ node_failure: 0, partition: 2 })
})

test('two of three that die at once are a partition to the third', () => {
  die(0, 'a', 2)
  die(10, 'b', 1)
  expect(faults.open.map(({ kind }) => kind)).toEqual(['partition', 'partition'])
})

test('two of ten that die at once, or half that die one after the other, are failed nodes', () => {
  die(0, 'a', 9)
  die(10, 'b', 8)
  expect(faults.counts).toMatchObject({ node_failure: 2, partition: 0 })
  die(10 + WINDOW_MS, 'c', 3)
  die(20 + 2 * WINDOW_MS, 'd', 2)
  expect(faults.counts).toMatchObject({ node_failure: 4, partition: 0 })
})

test('one that comes back without having started anew had been cut off', () => {
  die(0, 'a', 2)
  comeBack(60_000, 'a', 1)
  expect(faults.counts).toMatchObject({ node_failure: 0, partition: 1 })
  expect(faults.open).toEqual([])
})

test('a failing service is its own kind, counted each time it begins', () => {
  says({ services: { query: 'failing', receive: 'ok' } })
  says({ services: { query: 'failing', receive: 'ok' } })
  expect(faults.open).toMatchObject([{ kind: 'service_failure', subject: 'query' }])
  says({ services: { query: 'ok' } })
  expect(faults.open).toEqual([])
  says({ services: { query: 'failing' } })
  expect(faults.counts.service_failure).toBe(2)
})

test('damage is counted when more of it is found, from nothing again after a start', () => {
  says({ corruptions: 0 })
  says({ corruptions: 2 })
  says({ corruptions: 2 })
  says({ corruptions: 3 })
  expect(faults.counts.corruption).toBe(2)
  says({ corruptions: 0 }, 2)
  expect(faults.open).toEqual([])
  says({ corruptions: 1 }, 2)
  expect(faults.counts.corruption).toBe(3)
})

test('a full disk, full processors and ill health are degradation, until they are over', () => {
  says({ disk: 0.96, load: 1, health: 4 })
  expect(faults.open.map(({ subject }) => subject)).toEqual(['disk', 'load', 'health'])
  says({ disk: 0.5, load: 0.5, health: 0 })
  expect(faults.open).toEqual([])
  expect(faults.counts.degradation).toBe(3)
})

test('one that is suspected again and again is degraded, until it has been quiet for a while', () => {
  const suspect = (now: number) =>
    faults.happened(
      now,
      { kind: 'suspect', member: member('a', 'suspect'), previous: member('a') },
      3,
    )
  for (const now of [0, 10_000]) suspect(now)
  expect(faults.open).toEqual([])
  suspect(20_000)
  expect(faults.open).toMatchObject([{ kind: 'degradation', subject: 'flapping' }])
  faults.tick(200_000)
  expect(faults.open).toEqual([])
})

test('nothing stays open of one that left', () => {
  says({ disk: 1 })
  faults.happened(0, { kind: 'left', member: member('a', 'left'), previous: member('a') }, 2)
  expect(faults.open).toEqual([])
  expect(told).toHaveLength(1)
})
