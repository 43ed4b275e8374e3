/** The waterfall: the tree at the left, time to the right; what is seen of it alone is in the document. */

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { useLoad } from '../../api/load'
import { colorOf } from '../../parts/colors'
import { formatDuration } from '../../parts/format'
import { VirtualRows } from '../../parts/virtual-rows'
import { param, setParams } from '../../state/page'
import { useShortcuts } from '../../state/shortcuts'
import { criticalPath, type Segments } from './critical-path'
import { Minimap } from './minimap'
import {
  at,
  deeperThan,
  ERROR,
  hasChildren,
  matching,
  nameOf,
  serviceOf,
  type Trace,
  visible,
} from './model'
import { loadEvents } from './spans'

const ROW = 26
/** Closed spans that an address names. */
const MOST_CLOSED = 40

export interface Window {
  from: number
  to: number
}

export function Waterfall({
  id,
  trace,
  chosen,
  onChoose,
}: {
  id: string
  trace: Trace
  chosen: number | null
  onChoose: (place: number | null) => void
}) {
  const [closed, close] = useClosed(trace)
  const path = useMemo(() => criticalPath(trace), [trace])
  const shown = useMemo(() => visible(trace, closed), [trace, closed])
  const hasEvents = useMemo(() => trace.events.some((count) => count > 0), [trace])
  const marks = useLoad(hasEvents ? (signal) => loadEvents(id, signal) : null, [id, hasEvents])
  const events = useMemo(() => eventsByPlace(trace, marks.data ?? []), [trace, marks.data])
  const find = param('find')
  const found = useMemo(() => matching(trace, find), [trace, find])
  const isFound = useMemo(() => new Set(found), [found])
  const showsPath = param('path') !== 'off'
  const view = windowOf(trace)
  const [here, setHere] = useState(chosen ?? 0)
  const [reveal, setReveal] = useState<{ index: number } | null>(null)
  const field = useRef<HTMLInputElement>(null)

  const goTo = (place: number) => {
    const opened = withoutAncestors(trace, closed, place)
    if (opened !== closed) close(opened)
    setHere(place)
    const index = indexOf(opened === closed ? shown : visible(trace, opened), place)
    setReveal({ index })
  }
  useEffect(() => {
    if (chosen !== null) goTo(chosen)
  }, [chosen])
  const nextFound = (by: number) => {
    if (found.length === 0) return
    const next =
      by > 0 ? found.find((place) => place > here) : found.findLast((place) => place < here)
    goTo(next ?? found.at(by > 0 ? 0 : -1) ?? 0)
  }
  useShortcuts('Waterfall', [
    { keys: '/', does: 'Find spans', run: () => field.current?.focus() },
    { keys: 'n', does: 'The next one found', run: () => nextFound(1) },
    { keys: 'N', does: 'The one found before', run: () => nextFound(-1) },
    { keys: 'c', does: 'The critical path, or not', run: () => togglePath(showsPath) },
  ])
  const keys = (event: KeyboardEvent) => {
    const index = indexOf(shown, here)
    const move = (to: number) => {
      const next = Math.max(0, Math.min(shown.length - 1, to))
      setHere(shown[next] ?? 0)
      setReveal({ index: next })
    }
    const actions: Record<string, () => void> = {
      ArrowDown: () => move(index + 1),
      ArrowUp: () => move(index - 1),
      PageDown: () => move(index + 20),
      PageUp: () => move(index - 20),
      Home: () => move(0),
      End: () => move(shown.length - 1),
      ArrowLeft: () => {
        if (hasChildren(trace, here) && !closed.has(here)) close(toggled(closed, here))
        else if (at(trace.parent, here) >= 0) goTo(at(trace.parent, here))
      },
      ArrowRight: () => {
        if (closed.has(here)) close(toggled(closed, here))
        else if (hasChildren(trace, here)) move(index + 1)
      },
      Enter: () => onChoose(chosen === here ? null : here),
      Escape: () => onChoose(null),
    }
    const action = actions[event.key]
    if (!action) return
    event.preventDefault()
    action()
  }
  return (
    <section class="card waterfall" aria-label="Waterfall">
      <div class="row">
        <input
          ref={field}
          type="search"
          class="grow"
          aria-label="Find spans"
          placeholder="Find: name, service, span id, or error"
          value={find}
          onInput={(event) => setParams({ find: event.currentTarget.value }, { replace: true })}
          onKeyDown={(event) => event.key === 'Enter' && nextFound(event.shiftKey ? -1 : 1)}
        />
        <span role="status" class="soft">
          {find !== '' && `${found.length} found`}
        </span>
        <label>
          <input type="checkbox" checked={showsPath} onChange={() => togglePath(showsPath)} />
          Critical path
        </label>
        <button type="button" onClick={() => close(new Set())}>
          Open all
        </button>
        <button type="button" onClick={() => close(deeperThan(trace, 1))}>
          Close all
        </button>
      </div>
      <Minimap trace={trace} view={view} path={showsPath ? path : null} onView={setWindow} />
      <Axis view={view} />
      <VirtualRows
        class="spans"
        label={`${trace.count} spans`}
        role="tree"
        attributes={{ 'aria-activedescendant': `span-${here}` }}
        count={shown.length}
        rowHeight={ROW}
        reveal={reveal}
        onKeyDown={keys}
        row={(index) => {
          const place = shown[index] ?? 0
          return (
            <Row
              key={place}
              trace={trace}
              place={place}
              view={view}
              path={showsPath ? path : null}
              events={events.get(place) ?? []}
              isClosed={closed.has(place)}
              isHere={place === here}
              isChosen={place === chosen}
              isFound={isFound.has(place)}
              onToggle={() => close(toggled(closed, place))}
              onChoose={() => {
                setHere(place)
                onChoose(place === chosen ? null : place)
              }}
            />
          )
        }}
      />
    </section>
  )
}

function togglePath(isShown: boolean): void {
  setParams({ path: isShown ? 'off' : '' }, { replace: true })
}

/** The closed spans: in the address where they are few, here otherwise. */
function useClosed(trace: Trace): [ReadonlySet<number>, (closed: ReadonlySet<number>) => void] {
  const [closed, set] = useState<ReadonlySet<number>>(() => {
    const given = param('closed')
    if (given === 'all') return deeperThan(trace, 1)
    const ids = given.split(',').filter(Boolean)
    return new Set(ids.flatMap((id) => trace.place.get(id) ?? []))
  })
  return [
    closed,
    (next) => {
      set(next)
      const isAll = next.size > MOST_CLOSED
      const ids = [...next].slice(0, MOST_CLOSED).map((place) => trace.ids[place] ?? '')
      setParams({ closed: isAll ? 'all' : ids.join(',') }, { replace: true })
    },
  ]
}

function toggled(closed: ReadonlySet<number>, place: number): Set<number> {
  const next = new Set(closed)
  if (!next.delete(place)) next.add(place)
  return next
}

function withoutAncestors(
  trace: Trace,
  closed: ReadonlySet<number>,
  place: number,
): ReadonlySet<number> {
  let next = closed
  for (let above = at(trace.parent, place); above >= 0; above = at(trace.parent, above)) {
    if (next.has(above)) next = toggled(next, above)
  }
  return next
}

/** Where a place stands in a sorted list of them. */
function indexOf(places: Int32Array, place: number): number {
  let [low, high] = [0, places.length - 1]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((places[middle] ?? 0) < place) low = middle + 1
    else high = middle
  }
  return Math.max(0, low)
}

/** The part of the trace's time that is shown, in nanoseconds from its beginning. */
function windowOf(trace: Trace): Window {
  const [from, to] = param('w').split('~').map(Number)
  if (from === undefined || to === undefined || !(from < to)) {
    return { from: 0, to: Math.max(1, trace.length) }
  }
  return { from: Math.max(0, from), to: Math.min(Math.max(1, trace.length), to) }
}

function setWindow(view: Window | null): void {
  setParams({ w: view ? `${Math.round(view.from)}~${Math.round(view.to)}` : '' }, { replace: true })
}

interface Event {
  at: number
  name: string
}

function eventsByPlace(
  trace: Trace,
  marks: { span_id: string; at: string | number; name: string }[],
): Map<number, Event[]> {
  const events = new Map<number, Event[]>()
  for (const { span_id, at: time, name } of marks) {
    const place = trace.place.get(span_id)
    if (place === undefined) continue
    const event = { at: Number(BigInt(time) - trace.began), name }
    const known = events.get(place)
    if (known) known.push(event)
    else events.set(place, [event])
  }
  return events
}

function Axis({ view }: { view: Window }) {
  const length = view.to - view.from
  return (
    <div class="axis" aria-hidden="true">
      {[0, 0.25, 0.5, 0.75].map((share) => (
        <span key={share} style={{ left: `${share * 100}%` }}>
          {formatDuration(view.from + share * length)}
        </span>
      ))}
      <span class="is-last">{formatDuration(view.to)}</span>
    </div>
  )
}

interface RowProps {
  trace: Trace
  place: number
  view: Window
  path: Segments | null
  events: Event[]
  isClosed: boolean
  isHere: boolean
  isChosen: boolean
  isFound: boolean
  onToggle: () => void
  onChoose: () => void
}

/** Indents beyond this many levels are not told apart. */
const MOST_INDENT = 24

function Row(props: RowProps) {
  const { trace, place, view, path, events, isClosed, isHere, isChosen, isFound } = props
  const [start, duration] = [at(trace.start, place), at(trace.duration, place)]
  const isFailed = trace.status[place] === ERROR
  const [depth, links] = [at(trace.depth, place), at(trace.links, place)]
  const service = serviceOf(trace, place)
  const length = view.to - view.from
  const share = (ns: number) => ((ns - view.from) / length) * 100
  const classes = ['span', isHere && 'is-here', isChosen && 'is-chosen', isFound && 'is-found']
  const inView = start + duration >= view.from && start <= view.to
  const [left, right] = [Math.max(0, share(start)), Math.min(100, share(start + duration))]
  return (
    <div
      id={`span-${place}`}
      role="treeitem"
      class={classes.filter(Boolean).join(' ')}
      style={{ height: `${ROW}px` }}
      aria-level={depth + 1}
      aria-selected={isChosen}
      aria-expanded={hasChildren(trace, place) ? !isClosed : undefined}
      onClick={props.onChoose}
    >
      <div class="span-name" style={{ paddingLeft: `${Math.min(depth, MOST_INDENT) * 12}px` }}>
        {hasChildren(trace, place) ? (
          <span
            class="toggle"
            aria-hidden="true"
            onClick={(event) => {
              event.stopPropagation()
              props.onToggle()
            }}
          >
            {isClosed ? '▸' : '▾'}
          </span>
        ) : (
          <span class="toggle" />
        )}
        <span class="mark" style={{ background: colorOf(service) }} />
        {isFailed && (
          <b class="bad">
            !<span class="unseen"> failed: </span>
          </b>
        )}
        <span class="soft">{service}</span> {nameOf(trace, place)}
        {links > 0 && <span class="soft"> ⇢{links}</span>}
        {(path?.isOn[place] ?? 0) > 0 && <span class="unseen"> on the critical path</span>}
      </div>
      <div class="span-time">
        {inView && (
          <>
            <span
              class={isFailed ? 'bar is-failed' : 'bar'}
              style={{
                left: `${left}%`,
                width: `max(2px, ${right - left}%)`,
                background: colorOf(service),
              }}
            />
            {path && <PathMarks path={path} place={place} share={share} />}
            {events.map((event, index) => {
              const where = share(event.at)
              if (where < 0 || where > 100) return null
              return (
                <span key={index} class="event" title={event.name} style={{ left: `${where}%` }} />
              )
            })}
          </>
        )}
        <span
          class={right < 80 ? 'took' : 'took is-over'}
          style={right < 80 ? { left: `calc(${Math.max(0, right)}% + 6px)` } : { right: '4px' }}
        >
          {formatDuration(duration)}
        </span>
      </div>
    </div>
  )
}

function PathMarks({
  path,
  place,
  share,
}: {
  path: Segments
  place: number
  share: (ns: number) => number
}) {
  const marks = []
  for (let index = at(path.first, place); index < at(path.first, place + 1); index++) {
    const left = Math.max(0, share(at(path.from, index)))
    const right = Math.min(100, share(at(path.to, index)))
    if (right < left) continue
    marks.push(
      <span
        key={index}
        class="critical"
        style={{ left: `${left}%`, width: `max(1px, ${right - left}%)` }}
      />,
    )
  }
  return <>{marks}</>
}
