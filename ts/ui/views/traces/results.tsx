/** The traces that were found. */

import { useMemo, useState } from 'preact/hooks'
import type { FoundTrace } from '../../api/tempo'
import { colorOf } from '../../parts/colors'
import { formatDuration } from '../../parts/format'
import { VirtualRows } from '../../parts/virtual-rows'
import { go, linkTo, zone } from '../../state/page'
import { formatTime } from '../../state/time'

const ROW = 44

type Order = 'time' | 'duration' | 'spans'

const spansIn = ({ serviceStats = {} }: FoundTrace) =>
  Object.values(serviceStats).reduce((sum, { spanCount = 0 }) => sum + spanCount, 0)
const errorsIn = ({ serviceStats = {} }: FoundTrace) =>
  Object.values(serviceStats).reduce((sum, { errorCount = 0 }) => sum + errorCount, 0)

const ORDERS: Record<Order, (a: FoundTrace, b: FoundTrace) => number> = {
  time: (a, b) => Number(b.startTimeUnixNano) - Number(a.startTimeUnixNano),
  duration: (a, b) => (b.durationMs ?? 0) - (a.durationMs ?? 0),
  spans: (a, b) => spansIn(b) - spansIn(a),
}

export function Results({
  traces,
  order,
  onOrder,
}: {
  traces: FoundTrace[]
  order: string
  onOrder: (order: Order) => void
}) {
  const [marked, mark] = useState<string[]>([])
  const [at, setAt] = useState(0)
  const reveal = useMemo(() => ({ index: at }), [at])
  const sorted = [...traces].sort(ORDERS[order as Order] ?? ORDERS.time)
  const longest = Math.max(1, ...traces.map(({ durationMs = 0 }) => durationMs))
  const toggle = (id: string) =>
    mark(marked.includes(id) ? marked.filter((each) => each !== id) : [...marked, id].slice(-2))
  const keys = (event: KeyboardEvent) => {
    const moves: Record<string, number> = {
      ...{ ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: sorted.length - 1 },
      ...{ PageDown: at + 10, PageUp: at - 10 },
    }
    const next = moves[event.key]
    if (next !== undefined) {
      event.preventDefault()
      setAt(Math.max(0, Math.min(sorted.length - 1, next)))
    } else if (event.key === 'Enter' && event.target === event.currentTarget) {
      const trace = sorted[at]
      if (trace) go(['trace', trace.traceID])
    }
  }
  const [first, second] = marked
  return (
    <>
      <div class="row">
        <label>
          Sorted by
          <select
            value={order || 'time'}
            onChange={(event) => onOrder(event.currentTarget.value as Order)}
          >
            <option value="time">newest</option>
            <option value="duration">longest</option>
            <option value="spans">most spans</option>
          </select>
        </label>
        {first && second ? (
          <a class="button" href={linkTo(['trace', first], { tab: 'compare', with: second })}>
            Compare the two
          </a>
        ) : (
          <span class="soft">Mark two to compare them.</span>
        )}
      </div>
      <VirtualRows
        class="results card"
        label={`${sorted.length} traces`}
        role="list"
        count={sorted.length}
        rowHeight={ROW}
        reveal={reveal}
        onKeyDown={keys}
        row={(index) => {
          const trace = sorted[index]
          if (!trace) return null
          const id = trace.traceID
          return (
            <Result
              key={id}
              trace={trace}
              longest={longest}
              isHere={index === at}
              isMarked={marked.includes(id)}
              onMark={() => toggle(id)}
            />
          )
        }}
      />
    </>
  )
}

function Result({
  trace,
  longest,
  isHere,
  isMarked,
  onMark,
}: {
  trace: FoundTrace
  longest: number
  isHere: boolean
  isMarked: boolean
  onMark: () => void
}) {
  const { traceID: id, rootServiceName, rootTraceName, durationMs = 0, serviceStats = {} } = trace
  const [spans, errors] = [spansIn(trace), errorsIn(trace)]
  const name = rootTraceName || '(the root is not there)'
  return (
    <div
      role="listitem"
      class={isHere ? 'result is-here' : 'result'}
      style={{ height: `${ROW}px` }}
    >
      <input
        type="checkbox"
        checked={isMarked}
        aria-label={`Mark ${name} ${id}`}
        onChange={onMark}
      />
      <a href={linkTo(['trace', id])}>
        <span class="mark" style={{ background: colorOf(rootServiceName ?? '') }} />
        <b>{rootServiceName}</b> {name}
      </a>
      <span class="soft when">{formatTime(Number(trace.startTimeUnixNano) / 1e6, zone.value)}</span>
      <span class="services" title={Object.keys(serviceStats).join(', ')}>
        {spans > 0 && `${spans} spans`}
        {errors > 0 && <b class="bad"> {errors} failed</b>}
      </span>
      <span class="length">
        <span
          class={errors > 0 ? 'is-bad' : ''}
          style={{ width: `${Math.max(1, (durationMs / longest) * 100)}%` }}
        />
        <b>{durationMs < 1 ? '< 1 ms' : formatDuration(durationMs * 1e6)}</b>
      </span>
    </div>
  )
}
