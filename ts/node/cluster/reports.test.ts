/** What a node says of itself is rough, so that small changes are not told to everyone. */

import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { Reporter, systemSources } from './reports.js'

function reporter(metrics = '') {
  const state = { now: 0, cpu: 0, disk: 0.5 }
  const checks = [
    { name: 'tcp flight', healthy: false, failures: 3, message: 'gone' },
    { name: 'disk', healthy: true, failures: 0, message: null },
    { name: 'cluster', healthy: false, failures: 3, message: 'no leader' },
  ]
  const sources = {
    cpu: () => state.cpu,
    disk: async () => state.disk,
    checks: () => checks,
    metrics: () => metrics,
  }
  return { state, made: new Reporter(sources, { monotonic: () => state.now }, 4) }
}

test('the load is the share of all processors since the last time, in steps', async () => {
  const { state, made } = reporter()
  Object.assign(state, { now: 1000, cpu: 2_000_000 })
  expect((await made.report()).load).toBeCloseTo(0.5)
  Object.assign(state, { now: 2000, cpu: 2_090_000 })
  expect((await made.report()).load).toBe(0)
  Object.assign(state, { now: 3000, cpu: 22_000_000, disk: 0.987 })
  const full = await made.report()
  expect(full.load).toBe(1)
  expect(full.disk).toBe(1)
})

test('services fail by name, but the cluster’s own check is nobody else’s fault', async () => {
  const { made } = reporter()
  expect((await made.report()).services).toEqual({ 'tcp.flight': 'failing', disk: 'ok' })
})

test('damages are counted over all kinds', async () => {
  const metrics = [
    '# TYPE otlake_corruption_detected counter',
    'otlake_corruption_detected_total{kind="log"} 2',
    'otlake_corruption_detected_total{kind="file"} 3',
    'otlake_other_total 9',
  ].join('\n')
  expect((await reporter(metrics).made.report()).corruptions).toBe(5)
})

test('the machine says what it has', async () => {
  const sources = systemSources(
    tmpdir(),
    () => [],
    () => '',
  )
  expect(sources.cpu()).toBeGreaterThan(0)
  const disk = await sources.disk()
  expect(disk).toBeGreaterThanOrEqual(0)
  expect(disk).toBeLessThanOrEqual(1)
})
