/** docs/metrics.md and a running node's /metrics: the same metrics, labels and values of labels. */

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { send } from '../testing/otlp.js'
import { MAIN, ServerProcess, temporaryFolder } from '../testing/server.js'

const page = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8')
const START = 1_700_000_000_000_000_000n

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess
let lines: string[]

/** The texts in code marks of a cell. */
const coded = (cell = '') => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] as string)

/** The cells of a table's rows below a heading of the page. */
function rows(heading: string): string[][] {
  const [, section = ''] = page.split(`## ${heading}\n`)
  const table = (section.split('\n## ')[0] ?? '')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
  return table.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

/** A metric as `# TYPE` names it: a counter without what OpenMetrics adds to its samples. */
const family = (name: string, type: string) =>
  type === 'counter' ? name.replace(/_total$/, '') : name

const span = (fields: object) => ({
  traceId: '5b8efff798038103d269b633813fc60c',
  spanId: 'eee19b7ec3c1b174',
  name: 'measured',
  startTimeUnixNano: String(START),
  endTimeUnixNano: String(START + 1n),
  ...fields,
})
const traces = (...spans: object[]) => ({ resourceSpans: [{ scopeSpans: [{ spans }] }] })
const point = { timeUnixNano: String(START), asInt: '1' }

beforeAll(async () => {
  folder = await temporaryFolder()
  const args = ['--cluster', '127.0.0.1:0', '--set', 'flush.interval_ms=20']
  server = await ServerProcess.start(folder.path, args)
  // One record that is stored as it is, one that is changed, one that looks wrong, one refused.
  const requests: [string, unknown][] = [
    ['traces', traces(span({}))],
    ['traces', traces(span({ attributes: [{ key: 'k'.repeat(2000), value: { intValue: 1 } }] }))],
    ['traces', traces(span({ endTimeUnixNano: String(START - 1n) }))],
    ['traces', traces(span({ traceId: 'abcd' }))],
    [
      'logs',
      { resourceLogs: [{ scopeLogs: [{ logRecords: [{ timeUnixNano: String(START) }] }] }] },
    ],
    [
      'metrics',
      {
        resourceMetrics: [
          { scopeMetrics: [{ metrics: [{ name: 'depth', gauge: { dataPoints: [point] } }] }] },
        ],
      },
    ],
  ]
  for (const [signal, request] of requests) expect(await send(server, signal, request)).toBe(true)
  expect(await send(server, 'traces', { resourceSpans: 'none' })).toBe(false)
  expect(await server.count('SELECT count(*) FROM spans')).toBe(3)
  const live = async () => {
    const text = await (await fetch(server.url('/metrics'))).text()
    lines = text.split('\n')
    return lines.some((line) => /^otlake_live_rows\{.*\} [1-9]/.test(line))
  }
  // The rows are in files when none is live.
  await vi.waitUntil(async () => !(await live()), { timeout: 60_000, interval: 20 })
  const url = server.addresses.cluster ?? ''
  for (const job of ['compact', 'retain', 'vacuum']) {
    await promisify(execFile)(process.execPath, [MAIN, 'job', 'run', job, '--url', url])
  }
  await live()
})

afterAll(async () => {
  await server?.kill()
  await folder?.remove()
})

test('every metric is on the page with its type, and every one on the page is told', () => {
  const told = lines.flatMap((line) => {
    const [, name, type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? []
    return name === undefined ? [] : [`${name} ${type}`]
  })
  const described = [...rows('Of otlake'), ...rows('Of the process')].map(
    ([name, type = '']) => `${family(coded(name)[0] ?? '', type)} ${type}`,
  )
  expect(told.length).toBeGreaterThan(50)
  // A node that is in no cluster, with its tables in a folder and no rules, has counted nothing of these.
  const elsewhere = /^otlake_(peer|replica|slice|gather|hand_overs|bucket|distributed|files|rule)/
  const expected = described.filter((line) => told.includes(line) || !elsewhere.test(line))
  expect(expected.sort()).toEqual(told.sort())
})

test('every metric of otlake has the labels of the page, with values that are there', () => {
  const named = new Map(
    rows('Of otlake').map(([name, type, , labels]) => [
      coded(name)[0] ?? '',
      [...coded(labels), ...(type === 'histogram' ? ['le'] : [])],
    ]),
  )
  const values = rows('Values of labels').map(([label, of, listed]) => ({
    label: coded(label)[0],
    metrics: of === 'any' ? null : coded(of),
    values: coded(listed),
  }))
  const samples = lines.filter((line) => line.startsWith('otlake_'))
  expect(samples.length).toBeGreaterThan(100)
  for (const line of samples) {
    const [, sample = '', text = ''] = /^(\w+)(?:\{(.*)\})? /.exec(line) ?? []
    const name = named.has(sample) ? sample : sample.replace(/_(bucket|sum|count)$/, '')
    const labels = named.get(name)
    for (const [, label, value] of text.matchAll(/(\w+)="([^"]*)"/g)) {
      expect(labels, line).toContain(label)
      if (label === 'le') continue
      const known = values.find(
        (row) => row.label === label && (row.metrics === null || row.metrics.includes(name)),
      )
      // What the page tells in words has no list.
      if (known?.values.length !== 0) expect(known?.values, line).toContain(value)
    }
  }
})
