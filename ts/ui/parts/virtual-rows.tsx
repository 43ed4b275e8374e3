/**
 * A list of any length with rows of one height: only those that are seen are there. Positions follow from
 * the height, so that two hundred thousand rows cost what forty cost.
 */

import type { AriaRole, ComponentChildren, RefObject } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'

/** Rows beyond each end of what is seen. */
const BEYOND = 8
/** What browsers can lay out; the rows of a longer list are placed by share. */
const MAX_HEIGHT = 15_000_000

export interface VirtualRowsProps {
  count: number
  rowHeight: number
  row: (index: number) => ComponentChildren
  /** A row to bring into view; each new object does it again. */
  reveal?: { index: number } | null
  class?: string
  label: string
  role?: AriaRole
  attributes?: Record<string, unknown>
  onKeyDown?: (event: KeyboardEvent) => void
  onEnd?: () => void
  scrollRef?: RefObject<HTMLDivElement>
}

export function VirtualRows(props: VirtualRowsProps) {
  const { count, rowHeight, row, reveal } = props
  const own = useRef<HTMLDivElement>(null)
  const scroller = props.scrollRef ?? own
  const [view, setView] = useState({ top: 0, height: 600 })
  const height = Math.min(count * rowHeight, MAX_HEIGHT)
  /** Pixels of rows by pixel of scrolling; 1 but for very long lists. */
  const scale = Math.max(1, (count * rowHeight - view.height) / Math.max(1, height - view.height))

  useLayoutEffect(() => {
    const element = scroller.current
    if (!element) return
    const look = () => setView({ top: element.scrollTop, height: element.clientHeight || 600 })
    look()
    const observer = new ResizeObserver(look)
    observer.observe(element)
    element.addEventListener('scroll', look, { passive: true })
    return () => {
      observer.disconnect()
      element.removeEventListener('scroll', look)
    }
  }, [])

  useEffect(() => {
    const element = scroller.current
    if (!element || !reveal) return
    const at = reveal.index * rowHeight
    const top = element.scrollTop * scale
    if (at < top) element.scrollTop = at / scale
    else if (at + rowHeight > top + element.clientHeight) {
      element.scrollTop = (at + rowHeight - element.clientHeight) / scale
    }
  }, [reveal])

  const top = view.top * scale
  const first = Math.max(0, Math.floor(top / rowHeight) - BEYOND)
  const last = Math.min(count, Math.ceil((top + view.height) / rowHeight) + BEYOND)
  useEffect(() => {
    if (last === count && count > 0) props.onEnd?.()
  }, [last === count, count])
  // While it is scrolled nothing but the window changes: rows that were there stay as they are.
  const known = useRef({ row, rows: new Map<number, ComponentChildren>() })
  if (known.current.row !== row) known.current = { row, rows: new Map() }
  const rows = new Map<number, ComponentChildren>()
  for (let index = first; index < last; index++) {
    rows.set(index, known.current.rows.get(index) ?? row(index))
  }
  known.current.rows = rows
  const seen = [...rows.values()]
  const offset = view.top + first * rowHeight - top
  return (
    <div
      ref={scroller}
      class={`rows ${props.class ?? ''}`}
      role={props.role ?? 'group'}
      aria-label={props.label}
      tabIndex={0}
      onKeyDown={props.onKeyDown}
      {...props.attributes}
    >
      <div class="rows-all" role="presentation" style={{ height: `${height}px` }}>
        <div
          class="rows-seen"
          role="presentation"
          style={{ transform: `translateY(${Math.max(0, offset)}px)` }}
        >
          {seen}
        </div>
      </div>
    </div>
  )
}
