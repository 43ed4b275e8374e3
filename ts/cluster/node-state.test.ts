/** What nodes say beside `LocalState` comes back as it was said; what is missing or odd is harmless. */

import { expect, test } from 'vitest'
import {
  fromNodeRegisters,
  NODE_WIRE,
  saysNoGroup,
  toNodeRegisters,
  wireOf,
  wireRegister,
} from './node-state.js'

test('what is said comes back', () => {
  const state = { weight: 2.5, draining: true, group: 'g', stream: 's', ready: true }
  expect(fromNodeRegisters(toNodeRegisters(state))).toEqual(state)
  expect(wireOf(new Map([wireRegister()]))).toEqual(NODE_WIRE)
})

test('who has said nothing is ready for nothing, in no group, and weighs 1', () => {
  const nothing = { weight: 1, draining: false, group: '', stream: '', ready: false }
  expect(fromNodeRegisters(new Map())).toEqual(nothing)
  expect(wireOf(new Map())).toEqual({ min: 1, max: 1 })
})

test('to be in no group is said, and not the same as to have said nothing', () => {
  const said = toNodeRegisters({ group: '' })
  expect(fromNodeRegisters(said).group).toBe('')
  expect(saysNoGroup(said)).toBe(true)
  expect(saysNoGroup(new Map())).toBe(false)
  expect(saysNoGroup(toNodeRegisters({ group: 'g' }))).toBe(false)
})

test('odd values are as good as none', () => {
  for (const weight of ['0', '-1', '17', 'much', '']) {
    expect(fromNodeRegisters(new Map([['weight', weight]])).weight).toBe(1)
  }
  for (const wire of ['', '1', '1-', 'a-b', '1-99999999999']) {
    expect(wireOf(new Map([['wire', wire]]))).toEqual({ min: 1, max: 1 })
  }
})
