/** What the native side tells is read whole; what a version leaves out is empty. */

import { expect, test } from 'vitest'
import { readMetadata, readReplication } from './cluster.js'

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
  expect(readReplication('{}')).toEqual({
    stream: '',
    followers: [],
    degraded: false,
    pending: 0,
    overdue: 0,
    fenced: null,
  })
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
