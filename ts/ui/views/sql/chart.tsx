/** A result as a plot: one column across, some up, one that tells series apart. */

import { useMemo } from 'preact/hooks'
import { seriesColor } from '../../parts/colors'
import { digits } from '../../parts/format'
import { LazyPlot } from '../../parts/lazy'
import { Empty } from '../../parts/states'
import { param, setParams } from '../../state/page'
import type { ResultRows } from './cells'
import { seriesOf } from './series'

export function Chart({ rows, count }: { rows: ResultRows; count: number }) {
  const { columns } = rows
  const numbers = columns.flatMap(({ isNumber, isTime }, index) =>
    isNumber || isTime ? [index] : [],
  )
  const named = (name: string) => columns.findIndex((column) => column.name === name)
  const time = columns.findIndex(({ isTime }) => isTime)
  const x = named(param('x')) >= 0 ? named(param('x')) : time >= 0 ? time : (numbers[0] ?? -1)
  const y =
    named(param('y')) >= 0 ? named(param('y')) : (numbers.find((index) => index !== x) ?? -1)
  const text = columns.findIndex(({ isNumber, isTime }) => !isNumber && !isTime)
  const by = param('by') === '-' ? -1 : named(param('by')) >= 0 ? named(param('by')) : text
  const made = useMemo(() => {
    if (x < 0 || y < 0) return null
    return seriesOf(
      Array.from({ length: count }, (_, row) => ({
        x: rows.number(row, x),
        y: rows.number(row, y),
        name: by < 0 ? (columns[y]?.name ?? '') : (rows.cell(row, by) ?? 'null'),
      })),
    )
  }, [rows, count, x, y, by])
  if (!made) {
    return (
      <Empty title="There is nothing to plot">
        <p>A plot needs a column of times or numbers, and another one of numbers.</p>
      </Empty>
    )
  }
  const choice = (label: string, name: string, value: number, of: number[], none = false) => (
    <label>
      {label}
      <select
        value={columns[value]?.name ?? '-'}
        onChange={(event) => setParams({ [name]: event.currentTarget.value })}
      >
        {none && <option value="-">none</option>}
        {of.map((index) => (
          <option key={index}>{columns[index]?.name}</option>
        ))}
      </select>
    </label>
  )
  return (
    <section class="card" aria-label="Plot">
      <div class="row">
        {choice('Across', 'x', x, numbers)}
        {choice('Up', 'y', y, numbers)}
        {choice(
          'Series',
          'by',
          by,
          columns.map((_, index) => index),
          true,
        )}
      </div>
      <LazyPlot
        x={made.x}
        series={made.series.map((each, index) => ({ ...each, color: seriesColor(index) }))}
        label={`${columns[y]?.name} by ${columns[x]?.name}`}
        format={digits}
        isTime={columns[x]?.isTime ?? false}
        height={320}
      />
      <ul class="legend">
        {made.series.map(({ name }, index) => (
          <li key={name}>
            <span class="mark" style={{ background: seriesColor(index) }} />
            {name}
          </li>
        ))}
      </ul>
      {made.left > 0 && (
        <p class="note">{made.left} further series are not drawn: ask for fewer.</p>
      )}
    </section>
  )
}
