/** Logs: the newest that match, how many there were over time, and those that come in. */

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { type Loaded, useLoad } from '../../api/load'
import { Attributes } from '../../parts/attributes'
import { colorOf, styleColor } from '../../parts/colors'
import { Copy } from '../../parts/copy'
import { formatCount } from '../../parts/format'
import { LazyPlot } from '../../parts/lazy'
import { limitOf, Newest } from '../../parts/newest'
import { Busy, Empty, NoData, Shown } from '../../parts/states'
import { setAbsolute } from '../../parts/time-picker'
import { VirtualRows } from '../../parts/virtual-rows'
import { after } from '../../state/clock'
import { linkTo, param, range, setParams, zone } from '../../state/page'
import { useShortcuts } from '../../state/shortcuts'
import { formatTime, niceStep, stepsOf } from '../../state/time'
import {
  type AttributeFilter,
  type Filter,
  formatFilters,
  type Histogram,
  type LogRow,
  loadHistogram,
  loadLogs,
  loadServiceNames,
  matches,
  parseFilters,
} from './queries'
import { BAND_COLORS, BANDS, type Band, severityBand } from './severity'
import { tail } from './tail'

const ROW = 28
const STEPS = 80
const LIMITS = ['500', '2000', '10000']
/** Records of a tail that are kept. */
const MOST_TAILED = 5000
/** How long a tail that ended waits before it begins again. */
const AGAIN_MS = 2000

function filterOf(): Filter {
  const bands = param('sev').split(',') as Band[]
  return {
    service: param('service'),
    text: param('text'),
    bands: bands.filter((band) => BANDS.includes(band)),
    trace: param('trace'),
    attributes: parseFilters(param('where')),
  }
}

export default function Logs() {
  const span = range.value
  const filter = filterOf()
  const key = JSON.stringify(filter)
  const isLive = param('live') === '1'
  const limit = limitOf(param('limit'), LIMITS)
  const stepS = niceStep(span, STEPS)
  const field = useRef<HTMLInputElement>(null)
  const keys = [key, span.from, span.to]
  const found = useLoad(isLive ? null : (signal) => loadLogs(filter, span, limit, signal), [
    ...keys,
    limit,
  ])
  const histogram = useLoad(
    isLive ? null : (signal) => loadHistogram(filter, span, stepS, stepsOf(span, stepS), signal),
    keys,
  )
  const services = useLoad((signal) => loadServiceNames(span, signal), [span.from, span.to])
  useShortcuts('Logs', [
    { keys: '/', does: 'To the text', run: () => field.current?.focus() },
    { keys: 'l', does: 'Live, or not', run: () => setParams({ live: param('live') ? '' : '1' }) },
  ])
  return (
    <>
      <h1 class="unseen">Logs</h1>
      <Busy of={[found, histogram]} />
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault()
          setParams({ text: field.current?.value ?? '' })
        }}
      >
        <input
          key={filter.text}
          ref={field}
          type="search"
          class="grow"
          aria-label="Text in the body"
          placeholder="Text in the body"
          defaultValue={filter.text}
        />
        <button type="submit" class="primary">
          Search
        </button>
        <label>
          Service
          <select
            value={filter.service}
            onChange={(event) => setParams({ service: event.currentTarget.value })}
          >
            <option value="">every service</option>
            {[
              ...new Set([...(services.data ?? []), ...(filter.service ? [filter.service] : [])]),
            ].map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <button
          type="button"
          aria-pressed={isLive}
          onClick={() => setParams({ live: isLive ? '' : '1' })}
        >
          Live
        </button>
      </form>
      <Chosen filter={filter} />
      {isLive ? (
        <Live key={key} filter={filter} />
      ) : (
        <Stored found={found} histogram={histogram} filter={filter} limit={limit} />
      )}
    </>
  )
}

/** What is filtered by, to take away again. */
function Chosen({ filter }: { filter: Filter }) {
  const toggle = (band: Band) => {
    const next = filter.bands.includes(band)
      ? filter.bands.filter((each) => each !== band)
      : [...filter.bands, band]
    setParams({ sev: next.join(',') })
  }
  return (
    <div class="row" role="group" aria-label="Filters">
      {BANDS.map((band) => (
        <button
          key={band}
          type="button"
          class="chip"
          aria-pressed={filter.bands.includes(band)}
          onClick={() => toggle(band)}
        >
          <span class="mark" style={{ background: styleColor(BAND_COLORS[band]) }} />
          {band}
        </button>
      ))}
      {filter.trace !== '' && (
        <button type="button" class="chip" onClick={() => setParams({ trace: '' })}>
          trace {filter.trace.slice(0, 8)} ×
        </button>
      )}
      {filter.attributes.map((each, index) => (
        <button
          key={index}
          type="button"
          class="chip"
          aria-label={`Take away ${each.key} ${each.isOut ? 'is not' : '='} ${each.value}`}
          onClick={() =>
            setParams({
              where: formatFilters(filter.attributes.filter((_, other) => other !== index)),
            })
          }
        >
          {each.key} {each.isOut ? '≠' : '='} {each.value} ×
        </button>
      ))}
    </div>
  )
}

function Stored({
  found,
  histogram,
  filter,
  limit,
}: {
  found: Loaded<LogRow[]>
  histogram: Loaded<Histogram>
  filter: Filter
  limit: number
}) {
  const isFiltered = JSON.stringify(filter) !== JSON.stringify(NO_FILTER)
  return (
    <>
      <Shown of={histogram} title="The records could not be counted">
        {(counted) => counted.total > 0 && <Counts histogram={counted} />}
      </Shown>
      <Shown of={found} title="The logs could not be loaded">
        {(rows) => {
          if (rows.length === 0) {
            return (
              <>
                <Empty title="No log record matches">
                  <p>Choose a longer range at the top, or take away a filter.</p>
                </Empty>
                {!isFiltered && <NoData what="logs in this range" />}
              </>
            )
          }
          return (
            <>
              <Newest count={rows.length} limit={limit} choices={LIMITS} what="records" />
              <Records rows={rows} filter={filter} />
            </>
          )
        }}
      </Shown>
    </>
  )
}

const NO_FILTER: Filter = { service: '', text: '', bands: [], trace: '', attributes: [] }

function Counts({ histogram }: { histogram: Histogram }) {
  // Bars stand behind each other, so each is the sum of those that are before it.
  const sums = histogram.times.map(() => 0)
  const stacked = [...histogram.bands].map(({ band, counts }) => ({
    name: band,
    color: styleColor(BAND_COLORS[band]),
    values: counts.map((count, index) => {
      sums[index] = (sums[index] ?? 0) + count
      // Nothing has no bar, not even a thin one.
      return sums[index] || null
    }),
  }))
  return (
    <section class="card" aria-label="Records over time">
      <LazyPlot
        x={histogram.times}
        series={stacked.reverse()}
        label="Log records over time"
        format={formatCount}
        isBars
        range={[range.value.from / 1000, range.value.to / 1000]}
        height={130}
        onSelect={(begin, end) => setAbsolute(begin * 1000, end * 1000)}
      />
      <p class="soft">{formatCount(histogram.total)} records. Drag to choose a range.</p>
    </section>
  )
}

/** Records as they come in; the newest stand at the top. */
function Live({ filter }: { filter: Filter }) {
  const [rows, setRows] = useState<LogRow[]>([])
  const [isPaused, pause] = useState(false)
  const [skipped, skip] = useState(0)
  const [state, say] = useState('Connecting')
  const paused = useRef(isPaused)
  paused.current = isPaused
  useEffect(() => {
    const controller = new AbortController()
    let stop: (() => void) | undefined
    const begin = () => {
      say('Waiting for records')
      tail(filter.service, controller.signal, (tailed) => {
        skip((before) => before + tailed.skipped)
        if (tailed.lost.length > 0) say(`${tailed.lost.join(', ')} is not reached any more`)
        if (paused.current) return
        const fresh = tailed.rows.filter((row) => matches(filter, row)).reverse()
        if (fresh.length > 0) setRows((before) => [...fresh, ...before].slice(0, MOST_TAILED))
      })
        .catch(() => undefined)
        .finally(() => {
          if (controller.signal.aborted) return
          say('The node ended the tail; it begins again')
          stop = after(AGAIN_MS, begin)
        })
    }
    begin()
    return () => {
      controller.abort()
      stop?.()
    }
  }, [])
  return (
    <>
      <p class="row" role="status">
        <b class="running">{isPaused ? 'Paused' : 'Live'}</b>
        <button type="button" onClick={() => pause(!isPaused)}>
          {isPaused ? 'Go on' : 'Pause'}
        </button>
        <button type="button" onClick={() => setRows([])}>
          Clear
        </button>
        <span class="soft">
          {rows.length === 0 ? `${state} …` : `${formatCount(rows.length)} records`}
        </span>
        {skipped > 0 && (
          <span class="note">{formatCount(skipped)} batches came too fast, and were skipped.</span>
        )}
      </p>
      {rows.length > 0 && <Records rows={rows} filter={filter} />}
    </>
  )
}

function Records({ rows, filter }: { rows: LogRow[]; filter: Filter }) {
  const [chosen, choose] = useState<LogRow | null>(null)
  const [at, setAt] = useState(0)
  const reveal = useMemo(() => ({ index: at }), [at])
  const keys = (event: KeyboardEvent) => {
    const moves: Record<string, number> = {
      ...{ ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 },
      ...{ PageDown: at + 20, PageUp: at - 20 },
    }
    const next = moves[event.key]
    if (next !== undefined) setAt(Math.max(0, Math.min(rows.length - 1, next)))
    else if (event.key === 'Enter') choose(rows[at] ?? null)
    else if (event.key === 'Escape') choose(null)
    else return
    event.preventDefault()
  }
  return (
    <div class="trace-body">
      <VirtualRows
        class="card log-rows"
        role="listbox"
        label={`${rows.length} log records`}
        attributes={{ 'aria-activedescendant': `log-${at}` }}
        count={rows.length}
        rowHeight={ROW}
        reveal={reveal}
        onKeyDown={keys}
        row={(index) => {
          const row = rows[index]
          if (!row) return null
          const band = severityBand(row.severity_number)
          return (
            <div
              key={index}
              id={`log-${index}`}
              role="option"
              aria-selected={row === chosen}
              class={`log-line is-${band}${index === at ? ' is-here' : ''}${row === chosen ? ' is-chosen' : ''}`}
              style={{ height: `${ROW}px` }}
              onClick={() => {
                setAt(index)
                choose(row === chosen ? null : row)
              }}
            >
              <span class="soft when">{formatTime(Number(row.at) / 1e6, zone.value)}</span>
              <b class="band">{row.severity_text ?? band}</b>
              <span class="mark" style={{ background: colorOf(row.service_name) }} />
              <span class="soft log-service">{row.service_name}</span>
              <span class="log-body">{row.body ?? row.event_name}</span>
            </div>
          )
        }}
      />
      {chosen && <Details row={chosen} filter={filter} onClose={() => choose(null)} />}
    </div>
  )
}

function Details({ row, filter, onClose }: { row: LogRow; filter: Filter; onClose: () => void }) {
  const where = (scope: AttributeFilter['scope']) => (attribute: { key: string; text: string }) =>
    linkTo(['logs'], {
      ...{ service: filter.service, text: filter.text, sev: filter.bands.join(',') },
      where: formatFilters([
        ...filter.attributes,
        { scope, key: attribute.key, value: attribute.text, isOut: false },
      ]),
    })
  return (
    <aside class="card details" aria-label="Log record">
      <header class="row">
        <h2 class="grow">{row.service_name}</h2>
        <button type="button" aria-label="Close the record" onClick={onClose}>
          ×
        </button>
      </header>
      <p>{formatTime(Number(row.at) / 1e6, zone.value)}</p>
      <pre class="text">{row.body}</pre>
      <p class="row">
        <Copy text={row.body ?? ''} what="the body" />
        <Copy text={JSON.stringify(row, null, 2)} what="the record as JSON" label="Copy as JSON" />
        {row.trace_id && (
          <>
            <a href={linkTo(['trace', row.trace_id], { span: row.span_id ?? '' })}>Its trace</a>
            <a href={linkTo(['logs'], { trace: row.trace_id })}>Logs of its trace</a>
          </>
        )}
      </p>
      <Attributes title="Attributes" json={row.attributes} linkOf={where('attributes')} />
      <Attributes
        title="Resource"
        json={row.resource_attributes}
        linkOf={where('resource_attributes')}
      />
    </aside>
  )
}
