/** The figures of the node's last hour. */

import { seriesColor } from '../../parts/colors'
import { formatBytes, formatDuration, formatRate } from '../../parts/format'
import { LazyPlot } from '../../parts/lazy'
import { type Past, SHOWN_MS } from './past'

interface Shown {
  title: string
  /** Names of series, and of their figures. */
  series: [string, string][]
  format: (value: number) => string
  isBytes?: boolean
}

const bytesPerSecond = (value: number) => `${formatBytes(value)}/s`

const PLOTS: Shown[] = [
  {
    title: 'Acknowledged records',
    series: [
      ['traces', 'acknowledgedTraces'],
      ['metrics', 'acknowledgedMetrics'],
      ['logs', 'acknowledgedLogs'],
    ],
    format: formatRate,
  },
  {
    title: 'Time to an acknowledgement',
    series: [
      ['p50', 'ackP50Seconds'],
      ['p95', 'ackP95Seconds'],
      ['p99', 'ackP99Seconds'],
    ],
    format: (seconds) => formatDuration(seconds * 1e9),
  },
  {
    title: 'Rejected records, refused requests',
    series: [
      ['records', 'rejectedRecords'],
      ['requests', 'refusedRequests'],
    ],
    format: formatRate,
  },
  {
    title: 'Bytes taken and written',
    series: [
      ['OTLP', 'requestBytes'],
      ['Parquet', 'flushedBytes'],
    ],
    format: bytesPerSecond,
    isBytes: true,
  },
  {
    title: 'Live batches, not in files yet',
    series: [['live batches', 'liveBytes']],
    format: formatBytes,
    isBytes: true,
  },
  { title: 'Queries', series: [['SQL and traces', 'queries']], format: formatRate },
  {
    title: 'On disk',
    series: [
      ['files', 'fileBytes'],
      ['log', 'logBytes'],
    ],
    format: formatBytes,
    isBytes: true,
  },
  {
    title: 'Memory of the process',
    series: [['resident', 'residentBytes']],
    format: formatBytes,
    isBytes: true,
  },
]

export function Plots({ past }: { past: Past }) {
  const x = past.at.map((at) => at / 1000)
  return (
    <>
      <p class="soft">
        The last {formatDuration(SHOWN_MS * 1e6)}, or since the node started; a sample every{' '}
        {formatDuration(past.everyMs * 1e6)}. Longer, and of every node: scrape{' '}
        <a href="./metrics">/metrics</a>.
      </p>
      <div class="plots">
        {PLOTS.map(({ title, series, format, isBytes = false }) => {
          const shown = series.map(([name, figure], index) => ({
            name,
            color: seriesColor(index),
            values: past.figures[figure] ?? [],
          }))
          return (
            <section key={title} class="card" aria-label={title}>
              <h2>{title}</h2>
              <LazyPlot
                x={x}
                series={shown}
                label={title}
                format={format}
                isBytes={isBytes}
                height={170}
              />
              <ul class="legend">
                {shown.map(({ name, color, values }) => (
                  <li key={name}>
                    <span class="mark" style={{ background: color }} />
                    {name} {format(latest(values))}
                  </li>
                ))}
              </ul>
            </section>
          )
        })}
      </div>
    </>
  )
}

const latest = (values: (number | null)[]): number => values.at(-1) ?? Number.NaN
