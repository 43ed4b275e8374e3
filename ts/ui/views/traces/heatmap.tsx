/** The heat map: a box is dragged, or chosen with the keys. */

import { useEffect, useRef, useState } from 'preact/hooks'
import { styleColor } from '../../parts/colors'
import { formatCount, formatDuration } from '../../parts/format'
import { isDark, zone } from '../../state/page'
import { formatTime } from '../../state/time'
import { type Box, boxOf, type Cell, countIn, darkness, type Heat } from './heat'

const HEIGHT = 220
const LEFT = 70
const BOTTOM = 22

interface Drag {
  from: Cell
  to: Cell
}

export function HeatMap({
  heat,
  box,
  onBox,
}: {
  heat: Heat
  box: Box | null
  onBox: (box: Box | null) => void
}) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [width, setWidth] = useState(800)
  const [drag, setDrag] = useState<Drag | null>(null)
  const [cell, setCell] = useState<Cell | null>(null)
  const [dark, tz] = [isDark.value, zone.value]

  useEffect(() => {
    const element = canvas.current
    if (!element) return
    const observer = new ResizeObserver(() => setWidth(element.clientWidth))
    observer.observe(element)
    return () => observer.disconnect()
  }, [])

  useEffect(() => {
    const element = canvas.current
    if (element) draw(element, width, heat, drag, cell, box, tz)
  }, [heat, width, drag, cell, box, dark, tz])

  const at = (event: PointerEvent): Cell => {
    const bounds = canvas.current?.getBoundingClientRect()
    const x = (event.clientX - (bounds?.left ?? 0) - LEFT) / (width - LEFT)
    const y = 1 - (event.clientY - (bounds?.top ?? 0)) / (HEIGHT - BOTTOM)
    return clamped(heat, Math.floor(x * heat.columns), Math.floor(y * heat.rows))
  }
  const down = (event: PointerEvent) => {
    canvas.current?.setPointerCapture(event.pointerId)
    setDrag({ from: at(event), to: at(event) })
  }
  const move = (event: PointerEvent) => {
    setCell(at(event))
    if (drag) setDrag({ ...drag, to: at(event) })
  }
  const up = () => {
    if (drag) onBox(boxOf(heat, drag.from, drag.to))
    setDrag(null)
  }
  const keys = (event: KeyboardEvent) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[
      event.key
    ]
    const here = cell ?? { column: heat.columns - 1, row: Math.floor(heat.rows / 2) }
    if (by) {
      const next = clamped(heat, here.column + (by[0] ?? 0), here.row + (by[1] ?? 0))
      setCell(next)
      if (event.shiftKey) setDrag({ from: drag?.from ?? here, to: next })
      else setDrag(null)
    } else if (event.key === 'Enter') {
      onBox(boxOf(heat, drag?.from ?? here, drag?.to ?? here))
      setDrag(null)
    } else if (event.key === 'Escape') {
      setDrag(null)
      onBox(null)
    } else return
    event.preventDefault()
  }
  const shown = drag ?? (cell && { from: cell, to: cell })
  return (
    <div class="heat">
      <div
        role="application"
        aria-label="Heat map of durations over time: arrows move, with Shift they draw a box, Enter takes it, Escape lets it go"
        tabIndex={0}
        onKeyDown={keys}
      >
        <canvas
          ref={canvas}
          style={{ height: `${HEIGHT}px` }}
          onPointerDown={down}
          onPointerMove={move}
          onPointerUp={up}
          onPointerLeave={() => !drag && setCell(null)}
        />
      </div>
      <p class="soft" role="status">
        {shown
          ? words(heat, shown, tz)
          : `${formatCount(heat.total)} spans. Drag a box to see what is in it.`}
      </p>
    </div>
  )
}

function clamped(heat: Heat, column: number, row: number): Cell {
  return {
    column: Math.max(0, Math.min(heat.columns - 1, column)),
    row: Math.max(0, Math.min(heat.rows - 1, row)),
  }
}

function words(heat: Heat, { from, to }: Drag, tz: string): string {
  const box = boxOf(heat, from, to)
  const time = (ms: number) => formatTime(ms, tz, 'seconds')
  return `${formatCount(countIn(heat, from, to))} spans of ${formatDuration(box.least)} to ${formatDuration(box.most)}, ${time(box.from)} – ${time(box.to)}`
}

function draw(
  canvas: HTMLCanvasElement,
  width: number,
  heat: Heat,
  drag: Drag | null,
  cell: Cell | null,
  box: Box | null,
  tz: string,
): void {
  const ratio = devicePixelRatio
  canvas.width = width * ratio
  canvas.height = HEIGHT * ratio
  const context = canvas.getContext('2d')
  if (!context) return
  context.scale(ratio, ratio)
  const [across, down] = [(width - LEFT) / heat.columns, (HEIGHT - BOTTOM) / heat.rows]
  const [line, soft, accent] = ['line', 'soft', 'accent'].map(styleColor)
  const top = (row: number) => HEIGHT - BOTTOM - (row + 1) * down
  context.font = '11px system-ui, sans-serif'
  context.textBaseline = 'middle'
  context.textAlign = 'right'
  const every = Math.ceil(heat.rows / 7)
  for (let row = 0; row <= heat.rows; row += every) {
    const y = HEIGHT - BOTTOM - row * down
    context.fillStyle = line ?? ''
    context.fillRect(LEFT, Math.round(y), width - LEFT, 1)
    context.fillStyle = soft ?? ''
    const name = formatDuration(2 ** (heat.exponent + row))
    context.fillText(name, LEFT - 6, Math.max(8, y))
  }
  const [low, high] = [styleColor('heat-low'), styleColor('heat-high')]
  for (let row = 0; row < heat.rows; row++) {
    for (let column = 0; column < heat.columns; column++) {
      const count = heat.counts[row * heat.columns + column] ?? 0
      if (count === 0) continue
      const share = darkness(count, heat.most)
      context.fillStyle = mixed(low, high, share)
      context.fillRect(LEFT + column * across, top(row), Math.max(1, across - 0.5), down - 0.5)
    }
  }
  drawTimes(context, width, heat, soft ?? '', tz)
  const outline = (from: Cell, to: Cell, color: string) => {
    const [left, right] = [Math.min(from.column, to.column), Math.max(from.column, to.column)]
    const [bottom, up] = [Math.min(from.row, to.row), Math.max(from.row, to.row)]
    context.strokeStyle = color
    context.lineWidth = 2
    const x = LEFT + left * across
    context.strokeRect(x, top(up), (right - left + 1) * across, (up - bottom + 1) * down)
  }
  if (box) outline(...cornersOf(heat, box), accent ?? '')
  if (drag) outline(drag.from, drag.to, accent ?? '')
  else if (cell) outline(cell, cell, soft ?? '')
}

function cornersOf(heat: Heat, box: Box): [Cell, Cell] {
  const column = (ms: number) => Math.round((ms / 1000 - heat.firstS) / heat.stepS)
  const row = (ns: number) => Math.round(Math.log2(Math.max(1, ns))) - heat.exponent
  return [
    clamped(heat, column(box.from), row(box.least)),
    clamped(heat, column(box.to) - 1, row(box.most) - 1),
  ]
}

function drawTimes(
  context: CanvasRenderingContext2D,
  width: number,
  heat: Heat,
  color: string,
  tz: string,
): void {
  const labels = Math.max(2, Math.floor((width - LEFT) / 140))
  const length = heat.columns * heat.stepS
  context.fillStyle = color
  for (let index = 0; index < labels; index++) {
    const at = heat.firstS + (length * index) / (labels - 1 || 1)
    context.textAlign = index === 0 ? 'left' : index === labels - 1 ? 'right' : 'center'
    const text = formatTime(at * 1000, tz, length < 600 ? 'seconds' : 'minutes')
    const x = LEFT + ((width - LEFT) * index) / (labels - 1 || 1)
    context.fillText(length < 86_400 ? text.slice(11) : text.slice(5), x, HEIGHT - BOTTOM / 2 + 2)
  }
}

function mixed(low: string, high: string, share: number): string {
  const part = (color: string, at: number) => Number.parseInt(color.slice(at, at + 2), 16)
  const mix = [1, 3, 5].map((at) =>
    Math.round(part(low, at) + (part(high, at) - part(low, at)) * share),
  )
  return `rgb(${mix.join(' ')})`
}
