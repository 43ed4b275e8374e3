import { expect, test } from 'vitest'
import {
  conditions,
  type Filter,
  formatFilters,
  histogramOf,
  type LogRow,
  matches,
  parseFilters,
} from './queries'

const EVERY: Filter = { service: '', text: '', bands: [], trace: '', attributes: [] }
const ROW: LogRow = {
  at: '1',
  severity_number: 17,
  severity_text: 'ERROR',
  service_name: 'shop',
  event_name: null,
  body: 'The voucher has expired',
  trace_id: 'ab',
  span_id: null,
  attributes: '{"retries":2,"route":"/cart"}',
  resource_attributes: '{}',
}
const attribute = (key: string, value: string, isOut = false) => ({
  ...EVERY,
  attributes: [{ scope: 'attributes' as const, key, value, isOut }],
})

test('what is looked for is bound, and stands for itself', () => {
  const { query, parameters } = conditions({ ...EVERY, text: '50%_' }, { from: 1, to: 2 })
  expect(query).toContain('body ILIKE $1')
  expect(parameters).toEqual(['%50\\%\\_%'])
})

test('records that come in are filtered as those that are stored', () => {
  const yes = [
    ...[EVERY, { ...EVERY, text: 'VOUCHER' }, { ...EVERY, bands: ['error' as const] }],
    ...[attribute('retries', '2'), attribute('route', '/cart'), attribute('gone', 'x', true)],
  ]
  const no = [
    ...[
      { ...EVERY, text: 'card' },
      { ...EVERY, bands: ['info' as const] },
    ],
    ...[
      { ...EVERY, service: 'other' },
      { ...EVERY, trace: 'cd' },
    ],
    ...[attribute('route', '/cart', true), attribute('gone', 'x')],
  ]
  expect(yes.map((filter) => matches(filter, ROW))).toEqual(yes.map(() => true))
  expect(no.map((filter) => matches(filter, ROW))).toEqual(no.map(() => false))
})

test('filters that are written and read give themselves; others give none', () => {
  const { attributes } = attribute('a "b"', 'ü', true)
  expect(parseFilters(formatFilters(attributes))).toEqual(attributes)
  expect([parseFilters(''), parseFilters('{'), formatFilters([])]).toEqual([[], [], ''])
})

test('records are counted by the step and the band of their severity', () => {
  const found = [
    { step: 10, severity_number: 17, n: 2 },
    { step: 10, severity_number: 18, n: 1 },
    { step: 20, severity_number: 9, n: 4 },
  ]
  expect(histogramOf(found, [10, 20])).toEqual({
    times: [10, 20],
    bands: [
      { band: 'error', counts: [3, 0] },
      { band: 'info', counts: [0, 4] },
    ],
    total: 7,
  })
})
