import { describe, expect, test } from 'vitest'
import type { Clock } from '../../base/clock.js'
import { VirtualTime } from '../../testing/virtual-time.js'
import { NAMES, readingOf } from './figures.js'
import { History, MAX_SAMPLES, SAMPLE_INTERVAL_MS } from './history.js'

const START = 1_800_000_000_000

/** A history in virtual time of a node whose metrics a test sets. */
function history() {
  const time = new VirtualTime()
  let ticking = true
  const clock: Clock = {
    now: () => START + time.now,
    every(ms, work) {
      const again = () => {
        if (!ticking) return
        work()
        time.after(ms, again)
      }
      time.after(ms, again)
      return () => {
        ticking = false
      }
    },
    sleep: async () => undefined,
  }
  const node = { metrics: '', resident: 100 }
  const kept = new History(
    clock,
    () => node.metrics,
    () => node.resident,
  )
  return { time, node, kept }
}

const exposition = (acks: { fast: number; slow: number }, live = 0) => `# TYPE otlake_x counter
otlake_records_acknowledged_total{signal="traces"} ${acks.fast + acks.slow}
otlake_records_acknowledged_total{signal="logs"} 0
otlake_ack_duration_seconds_bucket{le="0.1",signal="traces"} ${acks.fast}
otlake_ack_duration_seconds_bucket{le="0.2",signal="traces"} ${acks.fast + acks.slow}
otlake_ack_duration_seconds_bucket{le="+Inf",signal="traces"} ${acks.fast + acks.slow}
otlake_queries_total{kind="sql",outcome="ok"} ${acks.slow}
otlake_queries_total{kind="trace",outcome="ok"} ${acks.slow}
otlake_live_bytes{signal="traces"} ${live}
otlake_live_bytes{signal="logs"} 1
# EOF
`

describe('figures', () => {
  test('rates are of the time between two samples, and gauges of the later one', async () => {
    const { time, node, kept } = history()
    node.metrics = exposition({ fast: 1000, slow: 0 })
    await kept.start()
    node.metrics = exposition({ fast: 1010, slow: 10 }, 5)
    time.run(SAMPLE_INTERVAL_MS)
    const { at, figures } = kept.after(0)
    expect(at).toEqual([START + SAMPLE_INTERVAL_MS])
    expect(figures).toMatchObject({
      acknowledgedTraces: [4],
      acknowledgedMetrics: [0],
      acknowledgedLogs: [0],
      queries: [4],
      liveBytes: [6],
      residentBytes: [100],
    })
    expect(figures.ackP50Seconds[0]).toBeCloseTo(0.1)
    expect(figures.ackP95Seconds[0]).toBeCloseTo(0.19)
    expect(Object.keys(figures)).toEqual(NAMES)
  })

  test('a quantile of nothing is none, and a counter that starts anew has no negative rate', async () => {
    const { time, node, kept } = history()
    node.metrics = exposition({ fast: 10, slow: 0 })
    await kept.start()
    time.run(SAMPLE_INTERVAL_MS)
    node.metrics = exposition({ fast: 2, slow: 0 })
    time.run(SAMPLE_INTERVAL_MS)
    const { figures } = kept.after(0)
    expect(figures.ackP99Seconds).toEqual([null, null])
    expect(figures.acknowledgedTraces).toEqual([0, 0])
  })

  test('lines that are no sample, other metrics and exemplars do not disturb', () => {
    const text = `otlake_queries_total{kind="sql"} 3 # {trace_id="ab"} 0.5 1
otlake_other_total 9
otlake_live_bytes nonsense
`
    const { sums } = readingOf(text, 1, 2)
    expect([...sums]).toEqual([['otlake_queries_total', 3]])
  })
})

describe('the ring', () => {
  test('holds an hour of samples and no more, the newest', async () => {
    const { time, kept } = history()
    await kept.start()
    time.run((MAX_SAMPLES + 10) * SAMPLE_INTERVAL_MS)
    const { at, everyMs } = kept.after(0)
    expect(MAX_SAMPLES * SAMPLE_INTERVAL_MS).toBe(3_600_000)
    expect(at).toHaveLength(MAX_SAMPLES)
    expect(at.at(-1)).toBe(START + (MAX_SAMPLES + 10) * SAMPLE_INTERVAL_MS)
    expect(everyMs).toBe(SAMPLE_INTERVAL_MS)
  })

  test('gives what is newer than a moment alone', async () => {
    const { time, kept } = history()
    await kept.start()
    time.run(4 * SAMPLE_INTERVAL_MS)
    const { at, figures } = kept.after(START + 3 * SAMPLE_INTERVAL_MS)
    expect(at).toEqual([START + 4 * SAMPLE_INTERVAL_MS])
    expect(figures.liveBytes).toHaveLength(1)
  })

  test('ends with the node', async () => {
    const { time, kept } = history()
    await kept.start()
    time.run(SAMPLE_INTERVAL_MS)
    await kept.stop()
    time.run(10 * SAMPLE_INTERVAL_MS)
    expect(kept.after(0).at).toHaveLength(1)
  })
})
