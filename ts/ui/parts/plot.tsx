/** Series over time, by uPlot. This is a part of its own, loaded by the views that have plots. */

import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { useEffect, useRef } from 'preact/hooks'
import { isDark, zone } from '../state/page'
import { formatTime } from '../state/time'
import { styleColor } from './colors'

export interface Series {
  name: string
  color: string
  values: (number | null)[]
  /** Points alone. */
  isPoints?: boolean
}

export interface PlotProps {
  /** Of each value, in seconds since 1970, or any number where `isTime` is false. */
  x: number[]
  series: Series[]
  label: string
  format: (value: number) => string
  isTime?: boolean
  isBars?: boolean
  /** Bytes have round numbers of their own on the axis. */
  isBytes?: boolean
  height?: number
  /** The range of `x` that is shown; by default that of its values. */
  range?: [number, number]
  /** A range was dragged, in the unit of `x`. */
  onSelect?: (from: number, to: number) => void
  /** The point of a series that was clicked. */
  onPoint?: (series: number, index: number) => void
}

export default function Plot(props: PlotProps) {
  const host = useRef<HTMLDivElement>(null)
  const latest = useRef(props)
  latest.current = props
  const [dark, tz] = [isDark.value, zone.value]
  useEffect(() => {
    const element = host.current
    if (!element) return
    const plot = made(element, latest, tz)
    const observer = new ResizeObserver(() =>
      plot.setSize({ width: element.clientWidth, height: props.height ?? 220 }),
    )
    observer.observe(element)
    return () => {
      observer.disconnect()
      plot.destroy()
    }
  }, [props.x, props.series, dark, tz])
  return <div ref={host} class="plot" role="img" aria-label={words(props)} />
}

/** What the plot shows, in words. */
function words({ label, series, format }: PlotProps): string {
  const told = series.slice(0, 8).map(({ name, values }) => {
    const known = values.filter((value) => value !== null)
    if (known.length === 0) return `${name}: no values`
    return `${name}: from ${format(Math.min(...known))} to ${format(Math.max(...known))}`
  })
  return `${label}. ${told.join('; ')}`
}

function made(element: HTMLElement, latest: { current: PlotProps }, tz: string): uPlot {
  const props = latest.current
  const { x, series, format, isTime = true, isBars = false } = props
  const [grid, text] = [styleColor('line'), styleColor('soft')]
  const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } }
  const bars = uPlot.paths.bars?.({ size: [0.9, 64] })
  const options: uPlot.Options = {
    width: element.clientWidth || 600,
    height: props.height ?? 220,
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), tz),
    scales: {
      x: { time: isTime, ...(props.range ? { range: props.range } : {}) },
      y: { range: (_plot, least, most) => span(least, most, isBars) },
    },
    legend: { show: false },
    cursor: {
      drag: { x: props.onSelect !== undefined, y: false, setScale: false },
      points: { size: 6 },
    },
    axes: [
      { ...axis, size: 34, ...(isTime ? { values: (plot, at) => times(plot, at, tz) } : {}) },
      {
        ...axis,
        ...(props.isBytes ? { incrs: BINARY } : {}),
        size: (_plot, texts) => widthOf(texts ?? []),
        values: (_plot, values) => values.map(format),
      },
    ],
    series: [
      {},
      ...series.map(({ name, color, isPoints }) => ({
        label: name,
        stroke: color,
        width: isPoints ? 0 : 1.5,
        spanGaps: false,
        ...(isBars && bars ? { fill: color, paths: bars, points: { show: false } } : {}),
        ...(isPoints ? { paths: () => null, points: { show: true, size: 8, fill: color } } : {}),
      })),
    ],
    hooks: {
      setSelect: [
        (plot) => {
          const { left, width } = plot.select
          if (width < 4) return
          latest.current.onSelect?.(plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x'))
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
        },
      ],
      ready: [(plot) => tooltip(plot, latest)],
    },
  }
  return new uPlot(
    options,
    [x, ...series.map(({ values }) => values)] as uPlot.AlignedData,
    element,
  )
}

/** Steps of an axis of bytes. */
const BINARY = Array.from({ length: 51 }, (_, power) => 2 ** power)

/** Pixels that the axis on the left takes, which its texts have to fit into. */
const [LEAST_AXIS, LETTER, BESIDE] = [48, 7.2, 20]
const widthOf = (texts: string[]): number =>
  Math.max(LEAST_AXIS, Math.max(0, ...texts.map((text) => text.length)) * LETTER + BESIDE)

/** Times on the axis, as short as the range allows. */
function times(plot: uPlot, at: number[], tz: string): string[] {
  const { min = 0, max = 0 } = plot.scales.x ?? {}
  const length = (max ?? 0) - (min ?? 0)
  return at.map((seconds) => {
    const text = formatTime(seconds * 1000, tz, length < 600 ? 'seconds' : 'minutes')
    return length < 86_400 ? text.slice(11) : text.slice(5)
  })
}

function span(least: number | null, most: number | null, isBars: boolean): [number, number] {
  const [low, high] = [Math.min(0, least ?? 0), Math.max(0, most ?? 0)]
  if (low === high) return [0, 1]
  return [isBars ? 0 : low * 1.05, high * 1.05]
}

/** The values below the pointer; a click asks for the nearest one. */
function tooltip(plot: uPlot, latest: { current: PlotProps }): void {
  const box = document.createElement('div')
  box.className = 'plot-tip'
  box.hidden = true
  plot.over.append(box)
  const near = { series: -1, index: -1 }
  plot.over.addEventListener('mouseleave', () => {
    box.hidden = true
  })
  plot.over.addEventListener('mousemove', () => {
    const { idx, left = 0, top = 0 } = plot.cursor
    if (idx === null || idx === undefined) return
    const { x, series, format, isTime = true } = latest.current
    const shown = series
      .map(({ name, color, values }, at) => ({ name, color, at, value: values[idx] ?? null }))
      .filter((each) => each.value !== null)
    const distance = (value: number) => Math.abs(plot.valToPos(value, 'y') - top)
    const closest = [...shown].sort((a, b) => distance(a.value ?? 0) - distance(b.value ?? 0))[0]
    near.series = closest?.at ?? -1
    near.index = idx
    const at = x[idx] ?? 0
    const head = document.createElement('strong')
    head.textContent = isTime ? formatTime(at * 1000, zone.peek(), 'seconds') : String(at)
    const lines = shown.slice(0, 12).map(({ name, color, value, at: index }) => {
      const line = document.createElement('div')
      const mark = document.createElement('span')
      mark.className = 'mark'
      mark.style.background = color
      line.append(mark, `${name} ${format(value ?? 0)}`)
      if (index === near.series) line.className = 'is-near'
      return line
    })
    box.replaceChildren(head, ...lines)
    box.hidden = shown.length === 0
    const isRight = left > plot.over.clientWidth / 2
    box.style.left = isRight ? 'auto' : `${left + 12}px`
    box.style.right = isRight ? `${plot.over.clientWidth - left + 12}px` : 'auto'
    box.style.top = '4px'
  })
  plot.over.addEventListener('click', () => {
    if (near.series >= 0) latest.current.onPoint?.(near.series, near.index)
  })
}
