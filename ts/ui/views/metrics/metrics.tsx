/** Metrics: names to browse, one of them over time, and the traces that its exemplars lead to. */

import { useMemo, useState } from 'preact/hooks'
import { type Loaded, useLoad } from '../../api/load'
import { seriesColor, styleColor } from '../../parts/colors'
import { digits, formatBytes, formatCount, formatDuration } from '../../parts/format'
import { LazyPlot } from '../../parts/lazy'
import { Busy, Empty, NoData, Shown } from '../../parts/states'
import { setAbsolute } from '../../parts/time-picker'
import { VirtualRows } from '../../parts/virtual-rows'
import { go, linkTo, param, range, setParams, zone } from '../../state/page'
import { formatTime, niceStep } from '../../state/time'
import {
  type Asked,
  type Exemplar,
  FUNCTIONS,
  KINDS,
  type Kind,
  type Lines,
  loadExemplars,
  loadKeys,
  loadLines,
  loadNames,
  type Metric,
} from './queries'

const ROW = 48
const STEPS = 120
const MOST_SERIES = 40

export default function Metrics() {
  const span = range.value
  const service = param('service')
  const names = useLoad((signal) => loadNames(service, span, signal), [service, span.from, span.to])
  const name = param('name')
  const kind = param('kind') as Kind
  const chosen = name !== '' && KINDS.includes(kind) ? { name, kind } : null
  return (
    <>
      <h1 class="unseen">Metrics</h1>
      <Busy of={[names]} />
      {service !== '' && (
        <p class="row">
          <button type="button" class="chip" onClick={() => setParams({ service: '' })}>
            service = {service} ×
          </button>
        </p>
      )}
      <Shown of={names} title="The metrics could not be loaded">
        {(all) =>
          all.length === 0 ? (
            <>
              <Empty title="No metric in this range">
                <p>Choose a longer range at the top{service && ', or every service'}.</p>
              </Empty>
              {service === '' && <NoData what="metrics in this range" />}
            </>
          ) : (
            <div class="metrics">
              <Names all={all} chosen={chosen} />
              {chosen ? (
                <One
                  key={`${kind} ${name}`}
                  metric={all.find((each) => each.name === name && each.kind === kind) ?? chosen}
                />
              ) : (
                <Empty title="Choose a metric">
                  <p>
                    {formatCount(all.length)} have points in this range. Each is drawn with what
                    suits its kind: counters as rates, histograms as quantiles.
                  </p>
                </Empty>
              )}
            </div>
          )
        }
      </Shown>
    </>
  )
}

function Names({ all, chosen }: { all: Metric[]; chosen: { name: string; kind: Kind } | null }) {
  const [text, setText] = useState('')
  const shown = all.filter(({ name }) => name.toLowerCase().includes(text.toLowerCase()))
  return (
    <section class="card names" aria-label="Names">
      <input
        type="search"
        aria-label="Filter names"
        placeholder={`Filter ${all.length} names`}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <VirtualRows
        class="name-rows"
        role="list"
        label={`${shown.length} metrics`}
        count={shown.length}
        rowHeight={ROW}
        row={(index) => {
          const metric = shown[index]
          if (!metric) return null
          const { name, kind, unit, series } = metric
          const isChosen = chosen?.name === name && chosen.kind === kind
          return (
            <div key={`${kind} ${name}`} role="listitem" style={{ height: `${ROW}px` }}>
              <a
                class="metric-name"
                aria-current={isChosen ? 'true' : undefined}
                href={linkTo(['metrics'], { name, kind, service: param('service') })}
              >
                <b>{name}</b>
                <span class="soft">
                  {kind.replace('_', ' ')}
                  {unit && `, ${unit}`}, {formatCount(Number(series))} series
                </span>
              </a>
            </div>
          )
        }}
      />
    </section>
  )
}

function One({ metric }: { metric: Pick<Metric, 'name' | 'kind'> & Partial<Metric> }) {
  const span = range.value
  const { kind, name, unit } = metric
  const functions = FUNCTIONS[kind]
  // A sum that goes up and down, or down alone, has no rate.
  const first = kind === 'sum' && metric.monotonic === false ? 'value' : functions[0]?.[0]
  const asked: Asked = {
    metric: { kind, name },
    function: param('fn') || first || '',
    by: param('by'),
    service: param('service'),
  }
  const stepS = niceStep(span, STEPS)
  const id = [JSON.stringify(asked), span.from, span.to]
  const keys = useLoad((signal) => loadKeys(metric, span, signal), [kind, name, span.from, span.to])
  const lines = useLoad((signal) => loadLines(asked, span, stepS, signal), id)
  const exemplars = useLoad((signal) => loadExemplars(asked, span, signal), id)
  return (
    <section class="card metric" aria-label={name}>
      <h2>{name}</h2>
      <p class="soft">
        {metric.description || 'Without a description'}
        {unit && ` (${unit})`}
      </p>
      <div class="row">
        <label>
          Show
          <select
            value={asked.function}
            onChange={(event) => setParams({ fn: event.currentTarget.value })}
          >
            {functions.map(([value, label]) => (
              <option key={value} value={value}>
                {label}
              </option>
            ))}
          </select>
        </label>
        <label>
          by
          <select
            value={asked.by}
            onChange={(event) => setParams({ by: event.currentTarget.value })}
          >
            <option value="">everything together</option>
            {[...new Set([...(keys.data ?? []), ...(asked.by ? [asked.by] : [])])].map((key) => (
              <option key={key}>{key}</option>
            ))}
          </select>
        </label>
        <span class="soft">steps of {formatDuration(stepS * 1e9)}</span>
      </div>
      <Busy of={[lines]} />
      <Shown of={lines} title="The series could not be loaded">
        {(loaded) => (
          <LinesPlot
            lines={loaded}
            exemplars={exemplars}
            format={formatOf(unit ?? '', asked.function)}
            hasExemplars={!['rate', 'increase'].includes(asked.function)}
            name={name}
          />
        )}
      </Shown>
    </section>
  )
}

function LinesPlot({
  lines,
  exemplars,
  format,
  hasExemplars,
  name,
}: {
  lines: Lines
  exemplars: Loaded<Exemplar[]>
  format: (value: number) => string
  hasExemplars: boolean
  name: string
}) {
  const points = exemplars.data ?? []
  const plot = useMemo(
    () => plotOf(lines, hasExemplars ? points : []),
    [lines, exemplars.data, hasExemplars],
  )
  if (lines.size === 0) {
    return (
      <Empty title="No values in this range">
        <p>A counter needs two points to have a rate: choose a longer range, or show its value.</p>
      </Empty>
    )
  }
  return (
    <>
      <LazyPlot
        x={plot.x}
        series={plot.series}
        label={name}
        range={[range.value.from / 1000, range.value.to / 1000]}
        format={format}
        height={320}
        onSelect={(begin, end) => setAbsolute(begin * 1000, end * 1000)}
        onPoint={(series, index) => {
          const point = plot.series[series]?.isPoints ? plot.exemplars[index] : undefined
          if (point) go(['trace', point.trace_id], { span: point.span_id ?? '' })
        }}
      />
      <ul class="legend">
        {plot.series.map((each) => (
          <li key={each.name}>
            <span class="mark" style={{ background: each.color }} />
            {each.name || 'all'}
          </li>
        ))}
      </ul>
      {plot.left > 0 && (
        <p class="note">
          {plot.left} further series are not drawn: those with the largest values are.
        </p>
      )}
      {points.length > 0 && <Exemplars exemplars={points} format={format} />}
    </>
  )
}

/** Series over one axis, those with the largest values, and the exemplars as points. */
function plotOf(lines: Lines, exemplars: Exemplar[]) {
  const most = (line: Map<number, number>) => Math.max(...line.values())
  const ranked = [...lines].sort(([, a], [, b]) => most(b) - most(a))
  const shown = ranked.slice(0, MOST_SERIES)
  shown.sort(([a], [b]) => a.localeCompare(b))
  const points = new Map(exemplars.map((each) => [Number(each.at) / 1e9, each]))
  const times = new Set([...shown.flatMap(([, line]) => [...line.keys()]), ...points.keys()])
  const x = [...times].sort((a, b) => a - b)
  const series = shown.map(([name, line], index) => ({
    name: name || 'all',
    color: seriesColor(index),
    values: withoutGaps(x, line),
    isPoints: false,
  }))
  if (points.size > 0) {
    series.push({
      name: 'exemplars (click one for its trace)',
      color: styleColor('text'),
      values: x.map((at) => points.get(at)?.value ?? null),
      isPoints: true,
    })
  }
  return { x, series, left: lines.size - shown.length, exemplars: x.map((at) => points.get(at)) }
}

/** Between its own steps a line goes on to where other series have times. */
function withoutGaps(x: number[], line: Map<number, number>): (number | null)[] {
  const values = x.map((at) => line.get(at) ?? null)
  const known = values.flatMap((value, index) => (value === null ? [] : [index]))
  for (let index = 1; index < known.length; index++) {
    const [from, to] = [known[index - 1] ?? 0, known[index] ?? 0]
    const [begin, end] = [x[from] ?? 0, x[to] ?? 0]
    const steps = [...line.keys()]
    const gap = steps.length > 1 ? Math.min(...pairs(steps)) : 0
    // Where a step has no value there is a gap, and it stays one.
    if (end - begin > gap * 1.5) continue
    for (let between = from + 1; between < to; between++) {
      const share = ((x[between] ?? 0) - begin) / (end - begin)
      values[between] = (values[from] ?? 0) + share * ((values[to] ?? 0) - (values[from] ?? 0))
    }
  }
  return values
}

function pairs(steps: number[]): number[] {
  const sorted = [...steps].sort((a, b) => a - b)
  return sorted.slice(1).map((at, index) => at - (sorted[index] ?? 0))
}

function Exemplars({
  exemplars,
  format,
}: {
  exemplars: Exemplar[]
  format: (value: number) => string
}) {
  return (
    <details>
      <summary>{formatCount(exemplars.length)} exemplars lead to their traces</summary>
      <ul class="exemplars">
        {exemplars.slice(0, 100).map(({ at, value, trace_id, span_id }, index) => (
          <li key={index}>
            <a href={linkTo(['trace', trace_id], { span: span_id ?? '' })}>
              {format(value)} at {formatTime(Number(at) / 1e6, zone.value)}
            </a>
          </li>
        ))}
      </ul>
    </details>
  )
}

/** How values are written, by the unit (UCUM). */
function formatOf(unit: string, of: string): (value: number) => string {
  if (of === 'rate') return (value) => `${digits(value)}/s`
  if (unit === 's') return (value) => formatDuration(value * 1e9)
  if (unit === 'ms') return (value) => formatDuration(value * 1e6)
  if (unit === 'us') return (value) => formatDuration(value * 1e3)
  if (unit === 'ns') return formatDuration
  if (unit === 'By') return formatBytes
  return digits
}
