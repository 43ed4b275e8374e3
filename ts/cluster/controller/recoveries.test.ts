/** Each stream without its writer is recovered by one node, and again where that fails. */

import { expect, test } from 'vitest'
import { Scene, streamOf } from '../../testing/cluster/situations.js'
import {
  FENCER_PATIENCE_MS,
  FIRST_DELAY_MS,
  LAST_DELAY_MS,
  MAX_RECOVERIES,
  OWNER_PATIENCE_MS,
  TURN_MS,
} from './recoveries.js'

const names = ['a', 'b', 'c', 'd']
const LOST = streamOf('d')

/** The same cluster as each node that is alive sees it. */
function everywhere(change: (scene: Scene) => void): Scene[] {
  return names.slice(0, 3).map((self) => {
    const scene = new Scene(self, names)
    change(scene)
    return scene
  })
}

const begun = (scenes: Scene[]) => {
  for (const scene of scenes) scene.decide()
  return scenes.filter((scene) => scene.begun.length > 0).map(({ self }) => self)
}

test('what its owner writes is nobody’s to recover, dead or suspect others or not', () => {
  const scenes = everywhere((scene) => scene.change('d', { status: 'suspect' }))
  expect(begun(scenes)).toEqual([])
})

test('the stream of a dead node, or of one that left without sealing it, is recovered by one', () => {
  for (const status of ['dead', 'left'] as const) {
    const scenes = everywhere((scene) => scene.change('d', { status }))
    expect(begun(scenes)).toHaveLength(1)
    expect(scenes.flatMap((scene) => scene.begun)).toEqual([LOST])
  }
})

test('of a node that nobody knows any more, too', () => {
  const scenes = everywhere((scene) => scene.members.delete('d'))
  expect(begun(scenes)).toHaveLength(1)
})

test('those that hold copies come first', () => {
  for (const follower of ['a', 'b', 'c']) {
    const scenes = everywhere((scene) => {
      scene.change('d', { status: 'dead' })
      scene.set({ streams: [scene.stream(LOST, 'd', { followers: [follower] })] })
    })
    expect(begun(scenes)).toEqual([follower])
  }
})

test('the next node has its turn where one does not come to an end', () => {
  const scenes = everywhere((scene) => {
    scene.change('d', { status: 'dead' })
    scene.set({ streams: [scene.stream(LOST, 'd', { followers: ['a', 'b'] })] })
  })
  const seen = new Set(begun(scenes))
  for (let turn = 0; turn < 2; turn++) {
    for (const scene of scenes) scene.now += TURN_MS
    for (const name of begun(scenes)) seen.add(name)
  }
  expect(seen).toEqual(new Set(['a', 'b', 'c']))
})

test('a sealed stream, and one without a leader to agree on its fence, is left alone', () => {
  const sealed = everywhere((scene) => {
    scene.change('d', { status: 'dead' })
    scene.set({ streams: [scene.stream(LOST, 'd', { state: 'sealed' })] })
  })
  expect(begun(sealed)).toEqual([])
  const leaderless = everywhere((scene) => {
    scene.change('d', { status: 'dead' })
    scene.set({ leader: '' })
  })
  expect(begun(leaderless)).toEqual([])
})

test('who has started anew recovers its own old stream first', () => {
  const scenes = names.map((self) => {
    const scene = new Scene(self, names)
    scene.change('d', { generation: 2, stream: streamOf('d', 2) })
    return scene
  })
  expect(begun(scenes)).toEqual(['d'])
  for (const scene of scenes) scene.now += OWNER_PATIENCE_MS
  // It has not in all that time: everyone's turn comes.
  const seen = new Set<string>()
  for (let turn = 0; turn < 4; turn++) {
    for (const scene of scenes) scene.controller.recovered(scene.now, LOST, false)
    for (const scene of scenes) scene.now += TURN_MS
    for (const name of begun(scenes)) seen.add(name)
  }
  expect(seen.size).toBeGreaterThan(1)
})

test('who has started anew and not said what it writes is waited for, but not for ever', () => {
  const scenes = everywhere((scene) => scene.change('d', { generation: 2, stream: '' }))
  expect(begun(scenes)).toEqual([])
  for (const scene of scenes) scene.pass(29_000)
  expect(begun(scenes)).toEqual([])
  for (const scene of scenes) scene.pass(2000)
  expect(begun(scenes)).toHaveLength(1)
})

test('who fenced it goes on, unless it is gone or takes too long', () => {
  const fence = (by: string) =>
    everywhere((scene) => {
      scene.change('d', { status: 'dead' })
      scene.set({ streams: [scene.stream(LOST, 'd', { state: 'fenced', by, followers: ['a'] })] })
    })
  expect(begun(fence('b'))).toEqual(['b'])
  expect(begun(fence('d'))).toEqual(['a'])
  const slow = fence('b')
  begun(slow)
  for (const scene of slow) scene.now += FENCER_PATIENCE_MS
  expect(begun(slow)).toContain('a')
})

test('what failed is tried again, later each time; what was done is looked at much later', () => {
  const scene = new Scene('a', ['a', 'd'])
  scene.change('d', { status: 'dead' })
  scene.decide()
  expect(scene.begun).toEqual([LOST])
  scene.pass(10_000)
  expect(scene.begun).toHaveLength(1)
  const delays: number[] = []
  for (let tries = 0; tries < 10; tries++) {
    scene.controller.recovered(scene.now, LOST, false)
    const failedAt = scene.now
    const before = scene.begun.length
    while (scene.begun.length === before) {
      scene.now += 250
      scene.decide()
    }
    delays.push(scene.now - failedAt)
  }
  expect(delays[0]).toBe(FIRST_DELAY_MS)
  expect(delays[1]).toBe(2 * FIRST_DELAY_MS)
  expect(delays.at(-1)).toBe(LAST_DELAY_MS)
  scene.controller.recovered(scene.now, LOST, true)
  const before = scene.begun.length
  scene.pass(LAST_DELAY_MS - 1000)
  expect(scene.begun).toHaveLength(before)
})

test('only so many are recovered at once', () => {
  const scene = new Scene('a', ['a', 'd'])
  scene.change('d', { status: 'dead' })
  const streams = Array.from({ length: 10 }, (_, index) => scene.stream(`s${index}`, 'd'))
  scene.set({ streams })
  scene.decide()
  expect(scene.begun).toHaveLength(MAX_RECOVERIES)
  scene.controller.recovered(scene.now, scene.begun[0] ?? '', true)
  scene.decide()
  expect(scene.begun).toHaveLength(MAX_RECOVERIES + 1)
})

test('who drains, or has no stream yet, recovers nothing of others', () => {
  for (const change of [{ draining: true }, { stream: '' }]) {
    const scene = new Scene('a', ['a', 'd'])
    scene.change('a', change)
    scene.change('d', { status: 'dead' })
    scene.decide()
    expect(scene.begun).toEqual([])
  }
})

test('what failed is tried at once when somebody has come, or writes another stream', () => {
  const scene = new Scene('a', ['a', 'b', 'd'])
  scene.change('d', { status: 'dead' })
  scene.change('b', { status: 'dead' })
  scene.decide()
  for (let tries = 0; tries < 8; tries++) {
    for (const stream of new Set(scene.begun)) scene.controller.recovered(scene.now, stream, false)
    scene.now += LAST_DELAY_MS
    scene.decide()
  }
  for (const stream of new Set(scene.begun)) scene.controller.recovered(scene.now, stream, false)
  const before = scene.begun.length
  scene.decide()
  expect(scene.begun).toHaveLength(before)
  scene.change('b', { status: 'alive', generation: 2, stream: streamOf('b', 2) })
  scene.decide()
  expect(scene.begun.slice(before)).toContain(LOST)
})
