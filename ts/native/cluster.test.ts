/** What the native side tells is read whole; what a version leaves out is empty. */

import { expect, test } from 'vitest'
import { FakeGroup } from '../testing/cluster/fake-native.js'
import { FakeEngine } from '../testing/fake-engine.js'
import { readMetadata, readReplication, startCluster } from './cluster.js'

test('metadata of a node that knows nothing yet is empty', () => {
  expect(readMetadata('{}')).toEqual({
    group: '',
    leader: '',
    term: 0,
    voters: [],
    learners: [],
    streams: [],
    refused: {},
    failure: '',
    config: {},
    services: {},
  })
  const nothing = { stream: '', followers: [], degraded: false, pending: 0, fenced: null }
  expect(readReplication('{}')).toEqual(nothing)
})

test('the followers of a stream are known whether told for each signal or for all', () => {
  const stream = { stream: 's', owner: 'a', epoch: 1, state: 'open' }
  const followers = { spans: ['b', 'c'], metrics: ['b'], logs: ['c'] }
  const streams = [
    { ...stream, followers },
    { ...stream, followers: ['b'], by: 'c' },
    { ...stream, by: null },
  ]
  expect(readMetadata(JSON.stringify({ streams })).streams).toEqual([
    { ...stream, by: '', followers: ['b', 'c'] },
    { ...stream, by: 'c', followers: ['b'] },
    { ...stream, by: '', followers: [] },
  ])
})

test('a build without a cluster in it says so', async () => {
  const config = { name: 'a', cluster: 'c', listen: '127.0.0.1:1', secret: null }
  const one = { copies: 1, acks: 1, timeoutMs: 1 }
  const quorum = { spans: one, metrics: one, logs: one }
  const whole = { ...config, quorum, allowDegraded: false }
  expect(() => startCluster(new FakeEngine(), whole)).toThrow('has no cluster in it')
  const group = new FakeGroup()
  const engine = Object.assign(new FakeEngine(), {
    startCluster: (given: typeof whole) => group.start(null, given),
  })
  expect((await startCluster(engine, whole)).address).toBe('127.0.0.1:1')
})
