/** Files belong where the ring wants them, and stay there while a node is away for a moment. */

import { expect, test } from 'vitest'
import { Scene } from '../../testing/cluster/situations.js'
import { FILE_SLOTS } from './files.js'

const FOUR = ['a', 'b', 'c', 'd']
const KEEPING = { keepsFiles: true }

test('every node places files alike, each with as many copies as the signal that asks for most', () => {
  const [first, ...others] = FOUR.map((self) => new Scene(self, FOUR, KEEPING).decide().view.files)
  expect(first).toHaveLength(FILE_SLOTS)
  for (const other of others) expect(other).toEqual(first)
  for (const slot of first ?? []) expect(new Set(slot).size).toBe(3)
  for (const name of FOUR)
    expect(first?.filter((slot) => slot.includes(name)).length).toBeGreaterThan(FILE_SLOTS / 3)
})

test('copies go to different zones, and more to a node of more weight', () => {
  const scene = new Scene('a', FOUR, { ...KEEPING, copies: { spans: 2, metrics: 1, logs: 1 } })
  for (const name of ['a', 'b']) scene.change(name, { zone: 'east' })
  for (const name of ['c', 'd']) scene.change(name, { zone: 'west' })
  scene.change('d', { weight: 4 })
  const { files } = scene.decide().view
  const zone = (name: string) => ('ab'.includes(name) ? 'east' : 'west')
  for (const slot of files) expect(new Set(slot.map(zone)).size).toBe(2)
  const count = (name: string) => files.filter((slot) => slot.includes(name)).length
  expect(count('d')).toBeGreaterThan(2 * count('c'))
})

test('a node that is away keeps its place for a while, one that drains or left does not', () => {
  const scene = new Scene('a', FOUR, { ...KEEPING, copies: { spans: 2, metrics: 2, logs: 2 } })
  const holds = (name: string) => scene.decide().view.files.some((slot) => slot.includes(name))
  scene.change('d', { status: 'dead' })
  expect(holds('d')).toBe(true)
  scene.now += 29_999
  expect(holds('d')).toBe(true)
  scene.now += 1
  expect(holds('d')).toBe(false)
  scene.change('d', { status: 'alive' })
  expect(holds('d')).toBe(true)
  scene.change('b', { draining: true })
  scene.change('c', { status: 'left' })
  expect([holds('b'), holds('c'), holds('a')]).toEqual([false, false, true])
})

test('where the tables are in one place for all, no file has a place', () => {
  expect(new Scene('a', FOUR).decide().view.files).toEqual([])
})
