/** The flame graph of a trace, on a canvas, and its operations by the time that is their own. */

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { colorOf, styleColor } from '../../parts/colors'
import { formatCount, formatDuration, formatPercent } from '../../parts/format'
import { isDark, param, setParams } from '../../state/page'
import { type Frame, framesOf, operationsOf } from './flame-layout'
import type { Trace } from './model'

const ROW = 22
/** Frames that are narrower, in pixels, are not drawn. */
const LEAST_WIDTH = 0.5
const MOST_ROWS = 60
const SHOWN_OPERATIONS = 50

export function Flame({ trace }: { trace: Trace }) {
  const frames = useMemo(() => framesOf(trace), [trace])
  const operations = useMemo(() => operationsOf(frames), [frames])
  const root = Math.min(Number(param('frame')) || 0, frames.length - 1)
  return (
    <>
      <section class="card" aria-label="Flame graph">
        <p class="soft">
          Spans of one name below the same names are one frame, as wide as the time they took
          together. Click one to see what is below it.
        </p>
        <Graph
          frames={frames}
          root={root}
          onRoot={(frame) => setParams({ frame: frame === 0 ? '' : String(frame) })}
        />
      </section>
      <section class="card wide" aria-label="Operations">
        <h2>Operations by the time that is their own</h2>
        <table class="table">
          <thead>
            <tr>
              <th>Operation</th>
              <th class="num">Own time</th>
              <th class="num">All time</th>
              <th class="num">Spans</th>
              <th class="num">Failed</th>
            </tr>
          </thead>
          <tbody>
            {operations
              .slice(0, SHOWN_OPERATIONS)
              .map(({ name, service, self, total, spans, errors }) => (
                <tr key={`${service} ${name}`}>
                  <td>
                    <span class="mark" style={{ background: colorOf(service) }} />
                    <span class="soft">{service}</span>{' '}
                    <button
                      type="button"
                      class="plain"
                      onClick={() => setParams({ tab: 'waterfall', find: name })}
                    >
                      {name}
                    </button>
                  </td>
                  <td class="num">{formatDuration(self)}</td>
                  <td class="num">{formatDuration(total)}</td>
                  <td class="num">{formatCount(spans)}</td>
                  <td class="num">{errors > 0 ? <b class="bad">{formatCount(errors)}</b> : ''}</td>
                </tr>
              ))}
          </tbody>
        </table>
      </section>
    </>
  )
}

function Graph({
  frames,
  root,
  onRoot,
}: {
  frames: Frame[]
  root: number
  onRoot: (frame: number) => void
}) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [width, setWidth] = useState(800)
  const [here, setHere] = useState(root)
  const dark = isDark.value
  const top = frames[root]
  const depth = Math.min(
    MOST_ROWS,
    frames.reduce((most, each) => Math.max(most, each.depth), 0) + 1,
  )
  const height = (depth - (top?.depth ?? 0)) * ROW
  useEffect(() => {
    const element = canvas.current
    if (!element) return
    const observer = new ResizeObserver(() => setWidth(element.clientWidth))
    observer.observe(element)
    return () => observer.disconnect()
  }, [])
  useEffect(() => {
    if (canvas.current) draw(canvas.current, width, height, frames, root, here)
  }, [frames, root, here, width, height, dark])
  const frameAt = (event: MouseEvent): number => {
    const bounds = canvas.current?.getBoundingClientRect()
    const [x, y] = [event.clientX - (bounds?.left ?? 0), event.clientY - (bounds?.top ?? 0)]
    const wanted = (top?.depth ?? 0) + Math.floor(y / ROW)
    const time = (top?.left ?? 0) + (x / width) * (top?.width ?? 1)
    return frames.findIndex(
      (each) => each.depth === wanted && time >= each.left && time < each.left + each.width,
    )
  }
  const keys = (event: KeyboardEvent) => {
    const frame = frames[here]
    const siblings = frames[frame?.parent ?? -1]?.children ?? []
    const place = siblings.indexOf(here)
    const to = {
      ArrowDown: frame?.children[0],
      ArrowUp: here === root ? undefined : frame?.parent,
      ArrowRight: siblings[place + 1],
      ArrowLeft: siblings[place - 1],
    }[event.key]
    if (to !== undefined && to >= 0) setHere(to)
    else if (event.key === 'Enter') onRoot(here)
    else if (event.key === 'Escape') onRoot(0)
    else return
    event.preventDefault()
  }
  const shown = frames[here] ?? top
  return (
    <>
      <p role="status" class="row">
        {root !== 0 && (
          <button type="button" onClick={() => onRoot(0)}>
            Show all
          </button>
        )}
        {shown && words(shown, frames[0]?.width ?? 1)}
      </p>
      <div
        role="application"
        aria-label="Flame graph: arrows go from frame to frame, Enter shows what is below one, Escape all"
        tabIndex={0}
        onKeyDown={keys}
      >
        <canvas
          ref={canvas}
          class="flame"
          style={{ height: `${height}px` }}
          onPointerMove={(event) => {
            const frame = frameAt(event)
            if (frame >= 0) setHere(frame)
          }}
          onClick={(event) => {
            const frame = frameAt(event)
            if (frame >= 0) onRoot(frame)
          }}
        />
      </div>
    </>
  )
}

function words({ name, service, total, self, spans, errors, depth }: Frame, all: number): string {
  if (depth === 0) return `All of the trace: ${formatDuration(total)} of spans`
  const failed = errors > 0 ? `, ${errors} failed` : ''
  return `${service} ${name}: ${formatDuration(total)} (${formatPercent(total / all)}) in ${formatCount(spans)} spans${failed}, ${formatDuration(self)} its own`
}

function draw(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
  frames: Frame[],
  root: number,
  here: number,
): void {
  const ratio = devicePixelRatio
  canvas.width = width * ratio
  canvas.height = height * ratio
  const context = canvas.getContext('2d')
  const top = frames[root]
  if (!context || !top) return
  context.scale(ratio, ratio)
  context.font = '12px system-ui, sans-serif'
  context.textBaseline = 'middle'
  const [text, accent, back, bad] = ['text', 'accent', 'page', 'bad'].map(styleColor)
  const scale = width / (top.width || 1)
  const waiting = [root]
  while (waiting.length > 0) {
    const index = waiting.pop() ?? 0
    const frame = frames[index]
    if (!frame) continue
    const [x, long] = [(frame.left - top.left) * scale, frame.width * scale]
    if (long < LEAST_WIDTH || frame.depth - top.depth > MOST_ROWS) continue
    const y = (frame.depth - top.depth) * ROW
    const color = frame.depth === 0 ? (accent ?? '') : colorOf(frame.service)
    // Text stands on the page's own colour, with the service's colour below it.
    context.fillStyle = back ?? ''
    context.fillRect(x, y, Math.max(1, long - 1), ROW - 1)
    context.fillStyle = frame.errors > 0 ? (bad ?? '') : color
    context.fillRect(x, y + ROW - 5, Math.max(1, long - 1), 4)
    if (index === here) {
      context.strokeStyle = accent ?? ''
      context.lineWidth = 2
      context.strokeRect(x + 1, y + 1, Math.max(1, long - 3), ROW - 3)
    }
    if (long > 40) {
      context.fillStyle = text ?? ''
      context.save()
      context.beginPath()
      context.rect(x, y, long - 4, ROW)
      context.clip()
      const name = frame.depth === 0 ? 'All' : `${frame.name} · ${formatDuration(frame.total)}`
      context.fillText(name, x + 4, y + ROW / 2 - 2)
      context.restore()
    }
    waiting.push(...frame.children)
  }
}
