/** This trace and another one. */

import { useMemo, useState } from 'preact/hooks'
import { useLoad } from '../../api/load'
import { quoted, search } from '../../api/tempo'
import { colorOf } from '../../parts/colors'
import { formatDuration } from '../../parts/format'
import { Empty, Shown } from '../../parts/states'
import { VirtualRows } from '../../parts/virtual-rows'
import { linkTo, param, range, setParams, zone } from '../../state/page'
import { formatTime } from '../../state/time'
import { compared, type Pair } from './compare-traces'
import { nameOf, serviceOf, type Trace } from './model'
import { loadTrace } from './spans'

const ROW = 28
const OFFERED = 20

export function Compare({ id, trace }: { id: string; trace: Trace }) {
  const other = param('with').toLowerCase()
  const isId = /^[0-9a-f]{32}$/.test(other)
  const loaded = useLoad(isId ? (signal) => loadTrace(other, signal) : null, [other])
  return (
    <>
      <Chooser key={other} id={id} trace={trace} other={other} />
      {isId && (
        <Shown of={loaded} title="The other trace could not be loaded">
          {(second) =>
            second.count === 0 ? (
              <Empty title="No span of the other trace is stored">
                <p>Choose one of those above, or paste another id.</p>
              </Empty>
            ) : (
              <Both trace={trace} second={second} other={other} />
            )
          }
        </Shown>
      )}
    </>
  )
}

function Chooser({ id, trace, other }: { id: string; trace: Trace; other: string }) {
  const [typed, type] = useState(other)
  const [service, name] = [serviceOf(trace, 0), nameOf(trace, 0)]
  const query = `{ trace:rootService = ${quoted(service)} && trace:rootName = ${quoted(name)} }`
  const alike = useLoad((signal) => search(query, range.value, OFFERED, signal), [query])
  const offered = (alike.data ?? []).filter(({ traceID }) => traceID !== id)
  return (
    <form
      class="row card"
      onSubmit={(event) => {
        event.preventDefault()
        setParams({ with: typed.trim() })
      }}
    >
      <label class="grow">
        With
        <input
          class="grow mono"
          value={typed}
          list="alike"
          placeholder="the id of another trace"
          onInput={(event) => type(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="primary">
        Compare
      </button>
      {offered.length > 0 && (
        <label>
          or one of the same root
          <select
            value={offered.some(({ traceID }) => traceID === other) ? other : ''}
            onChange={(event) => setParams({ with: event.currentTarget.value })}
          >
            <option value="">choose</option>
            {offered.map(({ traceID, durationMs = 0, startTimeUnixNano }) => (
              <option key={traceID} value={traceID}>
                {formatTime(Number(startTimeUnixNano) / 1e6, zone.value, 'seconds')},{' '}
                {formatDuration(durationMs * 1e6)}
              </option>
            ))}
          </select>
        </label>
      )}
    </form>
  )
}

function Both({ trace, second, other }: { trace: Trace; second: Trace; other: string }) {
  const pairs = useMemo(() => compared(trace, second), [trace, second])
  const most = Math.max(1, ...pairs.slice(0, 10_000).flatMap(({ total }) => total))
  return (
    <section class="card" aria-label="Both traces">
      <p>
        This one took <b>{formatDuration(trace.length)}</b> with {trace.count} spans,{' '}
        <a href={linkTo(['trace', other])}>the other</a> <b>{formatDuration(second.length)}</b> with{' '}
        {second.count}.
      </p>
      <div class="pair is-head" aria-hidden="true">
        <span>Operation</span>
        <span class="num">This</span>
        <span class="num">Other</span>
        <span class="num">Difference</span>
        <span />
      </div>
      <VirtualRows
        class="pairs"
        role="list"
        label={`${pairs.length} operations of both traces`}
        count={pairs.length}
        rowHeight={ROW}
        row={(index) => {
          const pair = pairs[index]
          return pair && <Line key={index} pair={pair} most={most} />
        }}
      />
    </section>
  )
}

function Line({ pair, most }: { pair: Pair; most: number }) {
  const { name, service, depth, spans, total, errors } = pair
  const change = total[1] - total[0]
  const told = (side: 0 | 1) =>
    spans[side] === 0
      ? 'not there'
      : `${formatDuration(total[side])}${spans[side] > 1 ? ` in ${spans[side]}` : ''}${errors[side] > 0 ? ` (${errors[side]} failed)` : ''}`
  return (
    <div role="listitem" class="pair" style={{ height: `${ROW}px` }}>
      <span class="pair-name" style={{ paddingLeft: `${Math.min(depth, 24) * 12}px` }}>
        <span class="mark" style={{ background: colorOf(service) }} />
        <span class="soft">{service}</span> {name}
      </span>
      <span class="num">{told(0)}</span>
      <span class="num">{told(1)}</span>
      <span class={change > 0 ? 'num bad' : 'num good'}>
        {change > 0 ? '+' : ''}
        {formatDuration(change)}
      </span>
      <span class="pair-bars" aria-hidden="true">
        <span style={{ width: `${(total[0] / most) * 100}%` }} />
        <span class="is-other" style={{ width: `${(total[1] / most) * 100}%` }} />
      </span>
    </div>
  )
}
