/** Exploring traces: a query, the heat map of what it finds, the list, and what differs. */

import { useEffect, useRef } from 'preact/hooks'
import { type Loaded, useLoad } from '../../api/load'
import { stats } from '../../api/sql'
import {
  type FoundTrace,
  type MetricSeries,
  makesMetrics,
  metricsRange,
  narrowed,
  plain,
  search,
  spansOf,
} from '../../api/tempo'
import { QueryBar } from '../../editor/query-bar'
import { seriesColor } from '../../parts/colors'
import { digits, formatDuration } from '../../parts/format'
import { LazyPlot } from '../../parts/lazy'
import { limitOf, Newest } from '../../parts/newest'
import { Busy, Empty, ErrorState, NoData, Shown } from '../../parts/states'
import { Tabs } from '../../parts/tabs'
import { setAbsolute } from '../../parts/time-picker'
import { go, param, range, setParams, zone } from '../../state/page'
import { useShortcuts } from '../../state/shortcuts'
import { formatTime, niceStep, type Range } from '../../state/time'
import { Differs } from './differs'
import { type Box, formatBox, heatOf, parseBox } from './heat'
import { HeatMap } from './heatmap'
import { Results } from './results'

const COLUMNS = 100
const LIMITS = ['50', '200', '1000', '5000']
const EXAMPLES: [string, string][] = [
  ['{ status = error }', 'failed'],
  ['{ duration > 100ms }', 'slow'],
  ['{ kind = server }', 'requests'],
  ['{ } >> { status = error }', 'failed below another'],
  ['{ } | rate() by (resource.service.name)', 'rate by service'],
]

const loadTraceql = () => import('../../editor/traceql').then((module) => module.openTraceql)

export default function Explore() {
  const query = param('q')
  const bar = useRef<() => void>(() => undefined)
  /** What stands in the bar and was not run yet. */
  const typed = useRef(query)
  useEffect(() => {
    typed.current = query
  }, [query])
  useShortcuts('Traces', [{ keys: '/', does: 'To the query', run: () => bar.current() }])
  const run = (text: string) => {
    const id = /^\s*([0-9a-f]{32})\s*$/i.exec(text)?.[1]
    if (id) go(['trace', id.toLowerCase()])
    else setParams({ q: text.trim(), box: '' })
  }
  return (
    <>
      <h1 class="unseen">Traces</h1>
      <div class="row">
        <div class="grow">
          <QueryBar
            isLine
            text={query}
            label="TraceQL query, or a trace id"
            hint="{ resource.service.name = &quot;shop&quot; && duration > 100ms }, or a trace id"
            load={loadTraceql}
            onRun={run}
            onChange={(text) => {
              typed.current = text
            }}
            onReady={(focus) => {
              bar.current = focus
            }}
          />
        </div>
        <button type="button" class="primary" onClick={() => run(typed.current)}>
          Search
        </button>
      </div>
      <div class="row" role="group" aria-label="Examples">
        {EXAMPLES.map(([text, name]) => (
          <button key={text} type="button" class="chip" title={text} onClick={() => run(text)}>
            {name}
          </button>
        ))}
        {query !== '' && (
          <button type="button" class="chip" onClick={() => run('')}>
            everything
          </button>
        )}
      </div>
      {makesMetrics(query) ? <MetricsOf query={query} /> : <SpansOf query={query} />}
    </>
  )
}

function SpansOf({ query }: { query: string }) {
  const { from, to } = range.value
  const box = parseBox(param('box'))
  const tab = param('tab') || 'list'
  const limit = limitOf(param('limit'), LIMITS)
  const stepS = niceStep({ from, to }, COLUMNS)
  const heat = useLoad(
    async (signal) => {
      const text = `${spansOf(query)} | histogram_over_time(duration)`
      return heatOf(await metricsRange(text, { from, to }, stepS, { signal }), { from, to }, stepS)
    },
    [query, from, to],
  )
  const inBox = box ? narrowed(query, box.least, box.most) : query
  const span: Range = box ? { from: box.from, to: box.to } : { from, to }
  const found = useLoad(tab === 'list' ? (signal) => search(inBox, span, limit, signal) : null, [
    inBox,
    span.from,
    span.to,
    limit,
    tab,
  ])
  const isEmpty = heat.data?.total === 0 && query === ''
  const held = useLoad(isEmpty ? stats : null, [isEmpty])
  if (isEmpty && held.data && held.data.fileRows + held.data.liveRows === 0) {
    return <NoData what="telemetry" />
  }
  return (
    <>
      <Busy of={[heat, found]} />
      <section class="card" aria-label="Durations over time">
        {heat.error ? (
          <ErrorState error={heat.error} title="There is no heat map of this query" />
        ) : heat.data ? (
          <HeatMap
            heat={heat.data}
            box={box}
            onBox={(next) => setParams({ box: next ? formatBox(next) : '', sel: '' })}
          />
        ) : (
          <div class="heat-place">Loading …</div>
        )}
        {box && <BoxBar box={box} />}
      </section>
      <Tabs
        label="What was found"
        tabs={[
          { id: 'list', name: 'Traces' },
          { id: 'differs', name: 'What differs' },
        ]}
        chosen={tab}
        onChoose={(id) => setParams({ tab: id })}
      >
        {tab === 'differs' ? (
          <Differs query={query} box={box} />
        ) : (
          <Found found={found} limit={limit} hasBox={box !== null} />
        )}
      </Tabs>
    </>
  )
}

function BoxBar({ box }: { box: Box }) {
  const at = (ms: number) => formatTime(ms, zone.value, 'seconds')
  return (
    <div class="row">
      <span>
        Box: {formatDuration(box.least)} to {formatDuration(box.most)}, {at(box.from)} –{' '}
        {at(box.to)}
      </span>
      <button type="button" onClick={() => setAbsolute(box.from, box.to)}>
        Take its time as the range
      </button>
      <button type="button" onClick={() => setParams({ tab: 'differs', sel: 'box' })}>
        What differs in it?
      </button>
      <button type="button" onClick={() => setParams({ box: '' })}>
        Let it go
      </button>
    </div>
  )
}

function Found({
  found,
  limit,
  hasBox,
}: {
  found: Loaded<FoundTrace[]>
  limit: number
  hasBox: boolean
}) {
  return (
    <Shown of={found} title="This could not be searched">
      {(traces) =>
        traces.length === 0 ? (
          <Empty title="No trace matches">
            <p>
              {hasBox ? 'Let the box go, choose' : 'Choose'} a longer range at the top, or ask for
              less: <code>{'{ }'}</code> finds every span.
            </p>
          </Empty>
        ) : (
          <>
            <Newest count={traces.length} limit={limit} choices={LIMITS} what="traces that match" />
            <Results
              traces={traces}
              order={param('order')}
              onOrder={(order) => setParams({ order }, { replace: true })}
            />
          </>
        )
      }
    </Shown>
  )
}

/** Series of a query that makes metrics. */
function MetricsOf({ query }: { query: string }) {
  const { from, to } = range.value
  const stepS = niceStep({ from, to }, COLUMNS * 2)
  const loaded = useLoad(
    (signal) => metricsRange(query, { from, to }, stepS, { exemplars: 50, signal }),
    [query, from, to],
  )
  return (
    <section class="card" aria-label="Series">
      <Busy of={[loaded]} />
      <Shown of={loaded} title="These metrics could not be made">
        {(series) => <SeriesPlot series={series} />}
      </Shown>
    </section>
  )
}

function SeriesPlot({ series }: { series: MetricSeries[] }) {
  if (series.length === 0) {
    return (
      <Empty title="No series">
        <p>No span matches in this range: choose a longer one, or ask for less.</p>
      </Empty>
    )
  }
  const times = [
    ...new Set(series.flatMap(({ samples = [] }) => samples.map((each) => each.timestampMs))),
  ].sort((a, b) => Number(a) - Number(b))
  const shown = series.map(({ labels, promLabels, samples = [] }, index) => {
    const values = new Map(samples.map(({ timestampMs, value = 0 }) => [timestampMs, value]))
    return {
      name: labels.map(({ value }) => plain(value)).join(', ') || promLabels || 'all',
      color: seriesColor(index),
      values: times.map((at) => values.get(at) ?? null),
    }
  })
  return (
    <>
      <LazyPlot
        x={times.map((at) => Number(at) / 1000)}
        series={shown}
        label="Series of the query"
        range={[range.value.from / 1000, range.value.to / 1000]}
        format={digits}
        height={320}
        onSelect={(begin, end) => setAbsolute(begin * 1000, end * 1000)}
      />
      <ul class="legend">
        {shown.slice(0, 40).map(({ name, color }) => (
          <li key={name}>
            <span class="mark" style={{ background: color }} />
            {name}
          </li>
        ))}
      </ul>
    </>
  )
}
