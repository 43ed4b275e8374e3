/** Traces for tests, written by hand. */

import { type Spans, type Trace, traceOf } from './model'

export interface Line {
  id: string
  parent?: string
  /** Milliseconds from some moment. */
  start: number
  end: number
  name?: string
  service?: string
  status?: number
}

const BEGAN = 1_700_000_000_000_000_000n

export function spansOf(lines: Line[]): Spans {
  const of =
    <T>(read: (line: Line) => T) =>
    (index: number) =>
      read(lines[index] as Line)
  return {
    count: lines.length,
    spanId: of(({ id }) => id),
    parentId: of(({ parent }) => parent ?? null),
    name: of(({ name, id }) => name ?? id),
    service: of(({ service }) => service ?? 'shop'),
    kind: of(() => 1),
    start: of(({ start }) => BEGAN + BigInt(start) * 1_000_000n),
    duration: of(({ start, end }) => (end - start) * 1e6),
    status: of(({ status }) => status ?? 0),
    events: of(() => 0),
    links: of(() => 0),
  }
}

export const traceWith = (lines: Line[]): Trace => traceOf(spansOf(lines))
