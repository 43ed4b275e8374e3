/** All of a trace in small: a part of its time is dragged. */

import { useEffect, useRef, useState } from 'preact/hooks'
import { colorOf, styleColor } from '../../parts/colors'
import { isDark } from '../../state/page'
import type { Segments } from './critical-path'
import { at, ERROR, serviceOf, type Trace } from './model'
import type { Window } from './waterfall'

const HEIGHT = 56
/** Spans that are drawn one by one; of more, each so manyth. */
const MOST_DRAWN = 20_000
const ZOOM = 0.5

export function Minimap({
  trace,
  view,
  path,
  onView,
}: {
  trace: Trace
  view: Window
  path: Segments | null
  onView: (view: Window | null) => void
}) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [width, setWidth] = useState(800)
  const [drag, setDrag] = useState<[number, number] | null>(null)
  const dark = isDark.value
  useEffect(() => {
    const element = canvas.current
    if (!element) return
    const observer = new ResizeObserver(() => setWidth(element.clientWidth))
    observer.observe(element)
    return () => observer.disconnect()
  }, [])
  useEffect(() => {
    if (canvas.current) draw(canvas.current, width, trace, path)
  }, [trace, path, width, dark])
  const all = Math.max(1, trace.length)
  const time = (event: PointerEvent) => {
    const bounds = canvas.current?.getBoundingClientRect()
    const share = (event.clientX - (bounds?.left ?? 0)) / (bounds?.width || 1)
    return Math.max(0, Math.min(1, share)) * all
  }
  const up = () => {
    if (drag) {
      const [from, to] = [Math.min(...drag), Math.max(...drag)]
      onView(to - from > all / 500 ? { from, to } : null)
    }
    setDrag(null)
  }
  const [left, right] = drag ? [Math.min(...drag), Math.max(...drag)] : [view.from, view.to]
  const isWhole = left <= 0 && right >= all
  const zoom = (by: number, shift = 0) => {
    const half = ((view.to - view.from) / 2) * by
    const middle = (view.from + view.to) / 2 + shift * (view.to - view.from)
    const from = Math.max(0, Math.min(all - 2 * half, middle - half))
    onView(half * 2 >= all ? null : { from, to: Math.min(all, from + 2 * half) })
  }
  return (
    <div class="minimap">
      <div class="minimap-map">
        <canvas
          ref={canvas}
          style={{ height: `${HEIGHT}px` }}
          onPointerDown={(event) => {
            canvas.current?.setPointerCapture(event.pointerId)
            setDrag([time(event), time(event)])
          }}
          onPointerMove={(event) => drag && setDrag([drag[0], time(event)])}
          onPointerUp={up}
        />
        {!isWhole && (
          <>
            <span class="shade" style={{ left: 0, width: `${(left / all) * 100}%` }} />
            <span class="shade" style={{ right: 0, width: `${(1 - right / all) * 100}%` }} />
          </>
        )}
      </div>
      <div class="row" role="group" aria-label="Part of the time">
        <button type="button" aria-label="Zoom in" onClick={() => zoom(ZOOM)}>
          +
        </button>
        <button
          type="button"
          aria-label="Zoom out"
          disabled={isWhole}
          onClick={() => zoom(1 / ZOOM)}
        >
          −
        </button>
        <button type="button" aria-label="Earlier" disabled={isWhole} onClick={() => zoom(1, -0.5)}>
          ←
        </button>
        <button type="button" aria-label="Later" disabled={isWhole} onClick={() => zoom(1, 0.5)}>
          →
        </button>
        <button type="button" disabled={isWhole} onClick={() => onView(null)}>
          All
        </button>
      </div>
    </div>
  )
}

function draw(canvas: HTMLCanvasElement, width: number, trace: Trace, path: Segments | null): void {
  const ratio = devicePixelRatio
  canvas.width = width * ratio
  canvas.height = HEIGHT * ratio
  const context = canvas.getContext('2d')
  if (!context) return
  context.scale(ratio, ratio)
  const every = Math.max(1, Math.ceil(trace.count / MOST_DRAWN))
  const height = Math.max(1, Math.min(4, HEIGHT / trace.count))
  const scale = width / Math.max(1, trace.length)
  const bad = styleColor('bad')
  const colors = trace.services.map(colorOf)
  for (let place = 0; place < trace.count; place++) {
    const isFailed = trace.status[place] === ERROR
    if (!isFailed && place % every !== 0) continue
    context.fillStyle = isFailed
      ? bad
      : (colors[at(trace.service, place)] ?? colorOf(serviceOf(trace, place)))
    const y = (place / trace.count) * (HEIGHT - height)
    const long = Math.max(1, at(trace.duration, place) * scale)
    context.fillRect(at(trace.start, place) * scale, y, long, height)
  }
  if (!path) return
  context.fillStyle = styleColor('critical')
  for (let index = 0; index < path.from.length; index++) {
    const from = at(path.from, index)
    context.fillRect(from * scale, HEIGHT - 3, (at(path.to, index) - from) * scale, 3)
  }
}
