/** Rows as a table of text, as wide as they need to be. */

const MAX_WIDTH = 60

export function formatTable(
  columns: readonly { name: string; type: string }[],
  rows: readonly Record<string, unknown>[],
): string {
  const cells = rows.map((row) => columns.map(({ name }) => cell(row[name])))
  const widths = columns.map(({ name }, index) =>
    Math.max(width(name), ...cells.map((row) => width(row[index] ?? ''))),
  )
  const isNumber = columns.map(({ type }) => /^(U?Int|Float|Decimal)/.test(type))
  const line = (values: string[]) =>
    values
      .map((value, index) => pad(value, widths[index] ?? 0, isNumber[index] ?? false))
      .join('  ')
      .trimEnd()
  const rule = widths.map((columnWidth) => '─'.repeat(columnWidth)).join('  ')
  return [line(columns.map(({ name }) => name)), rule, ...cells.map(line)].join('\n')
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return ''
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
  const flat = text.replace(/\s+/g, ' ')
  return [...flat].length > MAX_WIDTH ? `${[...flat].slice(0, MAX_WIDTH - 1).join('')}…` : flat
}

const width = (text: string) => [...text].length

function pad(text: string, to: number, right: boolean): string {
  const space = ' '.repeat(Math.max(0, to - width(text)))
  return right ? space + text : text + space
}
