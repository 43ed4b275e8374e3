/** A result as a table. */

import { useState } from 'preact/hooks'
import { Copy } from '../../parts/copy'
import { Dialog } from '../../parts/dialog'
import { Empty } from '../../parts/states'
import { VirtualRows } from '../../parts/virtual-rows'
import { linkTo } from '../../state/page'
import type { ResultRows } from './cells'

const ROW = 28
/** Rows that decide how wide a column is. */
const MEASURED = 50
const [LEAST_WIDTH, MOST_WIDTH, CHARACTER] = [70, 420, 8]

export function ResultTable({ rows, count }: { rows: ResultRows; count: number }) {
  const [cell, open] = useState<{ name: string; text: string } | null>(null)
  if (count === 0) {
    return (
      <Empty title="No rows">
        <p>The statement is right, and nothing matches it.</p>
      </Empty>
    )
  }
  const { columns } = rows
  const widths = columns.map(({ name, type }, column) => {
    let most = Math.max(name.length, Math.min(type.length, 12))
    for (let row = 0; row < Math.min(MEASURED, count); row++) {
      most = Math.max(most, rows.cell(row, column)?.length ?? 0)
    }
    return Math.max(LEAST_WIDTH, Math.min(MOST_WIDTH, most * CHARACTER + 20))
  })
  const template = widths.map((width) => `${width}px`).join(' ')
  const whole = widths.reduce((sum, width) => sum + width, 0)
  return (
    <>
      <div class="grid card wide" role="region" aria-label="Result" tabIndex={0}>
        <div
          role="table"
          aria-label="Rows"
          aria-rowcount={count + 1}
          style={{ minWidth: `${whole}px` }}
        >
          <div role="rowgroup">
            <div role="row" class="grid-row is-head" style={{ gridTemplateColumns: template }}>
              {columns.map(({ name, type, isNumber }, index) => (
                <div key={index} role="columnheader" class={isNumber ? 'num' : ''}>
                  <b>{name}</b>
                  <small class="soft">{type}</small>
                </div>
              ))}
            </div>
          </div>
          <VirtualRows
            class="grid-rows"
            label={`${count} rows`}
            role="rowgroup"
            count={count}
            rowHeight={ROW}
            row={(row) => (
              <div
                key={row}
                role="row"
                aria-rowindex={row + 2}
                class="grid-row"
                style={{ gridTemplateColumns: template, height: `${ROW}px` }}
              >
                {columns.map(({ name, isNumber }, column) => {
                  const text = rows.cell(row, column)
                  return (
                    <div
                      key={column}
                      role="cell"
                      class={isNumber ? 'num' : ''}
                      onDblClick={() => text !== null && open({ name, text })}
                    >
                      {text === null ? <i class="soft">null</i> : <Value name={name} text={text} />}
                    </div>
                  )
                })}
              </div>
            )}
          />
        </div>
      </div>
      {cell && (
        <Dialog title={cell.name} onClose={() => open(null)}>
          <pre class="text">{pretty(cell.text)}</pre>
          <p>
            <Copy text={cell.text} what="the value" />
          </p>
        </Dialog>
      )}
    </>
  )
}

function Value({ name, text }: { name: string; text: string }) {
  if (name === 'trace_id' && /^[0-9a-f]{32}$/.test(text)) {
    return <a href={linkTo(['trace', text])}>{text}</a>
  }
  return <>{text.length > 400 ? `${text.slice(0, 400)}…` : text}</>
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}
