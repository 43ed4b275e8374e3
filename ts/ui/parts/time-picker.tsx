/** The range, and how often it is loaded again. */

import { useEffect, useRef, useState } from 'preact/hooks'
import { now } from '../state/clock'
import { from, param, range, setParams, to, zone } from '../state/page'
import { useShortcuts } from '../state/shortcuts'
import { formatTime, PRESETS, parseRange, REFRESHES, rangeName } from '../state/time'

export function TimePicker() {
  const [isOpen, open] = useState(false)
  const box = useRef<HTMLDivElement>(null)
  const button = useRef<HTMLButtonElement>(null)
  useShortcuts('Range', [
    { keys: 'f', does: 'Choose the range', run: () => open(true) },
    { keys: '[', does: 'Earlier', run: () => shift(-1) },
    { keys: ']', does: 'Later', run: () => shift(1) },
    { keys: '-', does: 'Twice the range', run: () => zoom(2) },
    { keys: '+', does: 'Half the range', run: () => zoom(0.5) },
  ])
  useEffect(() => {
    if (!isOpen) return
    box.current?.querySelector<HTMLInputElement>('input')?.focus()
    const outside = (event: Event) => {
      if (!box.current?.parentElement?.contains(event.target as Node)) open(false)
    }
    document.addEventListener('pointerdown', outside)
    return () => document.removeEventListener('pointerdown', outside)
  }, [isOpen])
  const close = () => {
    open(false)
    button.current?.focus()
  }
  return (
    <div class="picker">
      <button
        ref={button}
        type="button"
        aria-expanded={isOpen}
        aria-haspopup="dialog"
        onClick={() => open(!isOpen)}
      >
        {rangeName(from.value, to.value, zone.value)}
      </button>
      <select
        aria-label="Load again every"
        value={param('refresh')}
        onChange={(event) => setParams({ refresh: event.currentTarget.value }, { replace: true })}
      >
        {REFRESHES.map((each) => (
          <option key={each} value={each}>
            {each === '' ? 'No refresh' : `Every ${each}`}
          </option>
        ))}
      </select>
      {isOpen && (
        <div
          ref={box}
          class="picker-box"
          role="dialog"
          aria-label="Range"
          onKeyDown={(event) => event.key === 'Escape' && close()}
        >
          <Ends key={`${from.value} ${to.value}`} onDone={close} />
          <ul>
            {PRESETS.map(([value, name]) => (
              <li key={value}>
                <button
                  type="button"
                  aria-pressed={from.value === value && to.value === 'now'}
                  onClick={() => {
                    setParams({ from: value, to: 'now' })
                    close()
                  }}
                >
                  {name}
                </button>
              </li>
            ))}
          </ul>
        </div>
      )}
    </div>
  )
}

function Ends({ onDone }: { onDone: () => void }) {
  const [begin, setBegin] = useState(shown(from.peek()))
  const [end, setEnd] = useState(shown(to.peek()))
  const chosen = parseRange(written(begin), written(end), now())
  return (
    <form
      class="form"
      onSubmit={(event) => {
        event.preventDefault()
        if (!chosen) return
        setParams({ from: written(begin), to: written(end) })
        onDone()
      }}
    >
      <label>
        From
        <input value={begin} onInput={(event) => setBegin(event.currentTarget.value)} />
      </label>
      <label>
        To
        <input value={end} onInput={(event) => setEnd(event.currentTarget.value)} />
      </label>
      <small role="status">
        {chosen
          ? `${formatTime(chosen.from, zone.value, 'seconds')} – ${formatTime(chosen.to, zone.value, 'seconds')}, ${zone.value}`
          : 'Write now-15m, now, or 2026-01-31 12:00:00, the earlier first.'}
      </small>
      <button type="submit" class="primary" disabled={!chosen}>
        Take this range
      </button>
    </form>
  )
}

/** A time of the address as one writes it: dates in the zone that was chosen. */
function shown(text: string): string {
  return /^\d{12,14}$/.test(text) ? formatTime(Number(text), zone.peek()) : text
}

/** A time that was written, for the address: dates without a zone are of the zone that was chosen. */
function written(text: string): string {
  const trimmed = text.trim()
  const [, date, time] =
    /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d(?::\d\d(?:\.\d+)?)?))?$/.exec(trimmed) ?? []
  if (date === undefined) return trimmed
  const asUtc = Date.parse(`${date}T${time ?? '00:00'}Z`)
  if (Number.isNaN(asUtc)) return trimmed
  // Twice: the first guess may lie on the other side of a change of the clocks.
  let at = asUtc
  for (let round = 0; round < 2; round++) at = asUtc - offset(at)
  return String(at)
}

/** How far the zone's clocks are ahead of UTC, in milliseconds. */
function offset(at: number): number {
  return Date.parse(`${formatTime(at, zone.peek()).replace(' ', 'T')}Z`) - at
}

function shift(by: number): void {
  const { from: begin, to: end } = range.peek()
  const length = (end - begin) * 0.5 * by
  setAbsolute(begin + length, end + length)
}

function zoom(by: number): void {
  const { from: begin, to: end } = range.peek()
  const [middle, half] = [(begin + end) / 2, ((end - begin) / 2) * by]
  setAbsolute(middle - half, middle + half)
}

/** Sets a range by its ends, in milliseconds. */
export function setAbsolute(begin: number, end: number, more: Record<string, string> = {}): void {
  setParams({ from: String(Math.floor(begin)), to: String(Math.ceil(end)), ...more })
}
