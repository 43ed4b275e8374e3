import { expect, test } from 'vitest'
import { OtlakeError } from '../base/errors.js'
import { loadConfig } from './config.js'

const load = (rules: unknown, more: Record<string, unknown> = {}) =>
  loadConfig({ flags: { 'processing.rules': rules, ...more } }).engine.rules

function refusal(rules: unknown, more: Record<string, unknown> = {}): string {
  try {
    load(rules, more)
  } catch (error) {
    expect(error).toBeInstanceOf(OtlakeError)
    expect((error as OtlakeError).code).toBe('CONFIG_INVALID')
    return (error as OtlakeError).message
  }
  throw new Error('it was taken')
}

test('without rules nothing is done', () => {
  expect(loadConfig({}).engine.rules).toEqual([])
})

test('each action becomes a whole record, in the order of the file', () => {
  const rules = [
    { name: 'health', signal: 'traces', when: "http_route = '/healthz'", drop: true },
    { name: 'cold', tables: ['spans'], when: "tenant = 'a'", route: { tenant: 'archive' } },
    { name: 'mail', signal: 'logs', redact: ['body', "attributes['user.email']"] },
    { name: 'cards', tables: ['spans', 'logs'], redact: ["attributes['card']"], hash: 'sha256' },
    { name: 'users', signal: 'logs', redact: ["attributes['user']"], hash: 'hmac-sha256' },
    { name: 'cookies', signal: 'traces', redact: ["attributes['http.*.cookie']"], remove: true },
    {
      name: 'names',
      signal: 'traces',
      rename: { "attributes['http.method']": 'http.request.method' },
    },
    {
      name: 'tier',
      signal: 'metrics',
      when: true,
      set: { "attributes['tier']": "'gold'", "attributes['n']": 5 },
    },
  ]
  expect(load(rules, { 'processing.hash_key': 'sixteen letters.' })).toEqual([
    {
      name: 'health',
      tables: ['spans'],
      when: "http_route = '/healthz'",
      action: 'drop',
      tenant: null,
      changes: [],
      redaction: null,
    },
    {
      name: 'cold',
      tables: ['spans'],
      when: "tenant = 'a'",
      action: 'route',
      tenant: 'archive',
      changes: [],
      redaction: null,
    },
    {
      name: 'mail',
      tables: ['logs'],
      when: null,
      action: 'redact',
      tenant: null,
      changes: [
        { target: 'body', to: null },
        { target: "attributes['user.email']", to: null },
      ],
      redaction: { kind: 'text', value: '[redacted]' },
    },
    {
      name: 'cards',
      tables: ['spans', 'logs'],
      when: null,
      action: 'redact',
      tenant: null,
      changes: [{ target: "attributes['card']", to: null }],
      redaction: { kind: 'sha256', value: null },
    },
    {
      name: 'users',
      tables: ['logs'],
      when: null,
      action: 'redact',
      tenant: null,
      changes: [{ target: "attributes['user']", to: null }],
      redaction: { kind: 'hmac-sha256', value: 'sixteen letters.' },
    },
    {
      name: 'cookies',
      tables: ['spans'],
      when: null,
      action: 'redact',
      tenant: null,
      changes: [{ target: "attributes['http.*.cookie']", to: null }],
      redaction: { kind: 'remove', value: null },
    },
    {
      name: 'names',
      tables: ['spans'],
      when: null,
      action: 'rename',
      tenant: null,
      changes: [{ target: "attributes['http.method']", to: 'http.request.method' }],
      redaction: null,
    },
    {
      name: 'tier',
      tables: [
        'metrics_gauge',
        'metrics_sum',
        'metrics_histogram',
        'metrics_exponential_histogram',
        'metrics_summary',
      ],
      when: 'true',
      action: 'set',
      tenant: null,
      changes: [
        { target: "attributes['tier']", to: "'gold'" },
        { target: "attributes['n']", to: '5' },
      ],
      redaction: null,
    },
  ])
})

test('the environment gives rules as JSON', () => {
  const rule = { name: 'a', signal: 'logs', when: 'severity_number < 5', drop: true }
  const env = { OTLAKE_PROCESSING_RULES: JSON.stringify([rule]) }
  expect(loadConfig({ env }).engine.rules).toHaveLength(1)
})

test.each([
  ['a list', { name: 'a' }, 'processing.rules'],
  ['an unknown key', [{ name: 'a', signal: 'logs', dorp: true }], 'dorp'],
  ['an unknown table', [{ name: 'a', tables: ['metrics'], drop: true }], 'tables'],
  ['no name', [{ signal: 'logs', when: 'true', drop: true }], 'name'],
  ['no action', [{ name: 'a', signal: 'logs', when: 'true' }], 'rule `a`: say one of `drop`'],
  [
    'two actions',
    [{ name: 'a', signal: 'logs', when: 'true', drop: true, redact: ['body'] }],
    'rule `a`: say one of `drop`',
  ],
  ['neither signal nor tables', [{ name: 'a', when: 'true', drop: true }], '`signal` or `tables`'],
  ['both', [{ name: 'a', signal: 'logs', tables: ['logs'], redact: ['body'] }], '`signal` or'],
  ['all to be dropped unsaid', [{ name: 'a', signal: 'logs', drop: true }], '`when: true`'],
  [
    'all to be routed unsaid',
    [{ name: 'a', signal: 'logs', route: { tenant: 'b' } }],
    'rule `a`: say which rows go to the tenant',
  ],
  [
    'a route to nobody',
    [{ name: 'a', signal: 'logs', when: true, route: { tenant: '' } }],
    'tenant',
  ],
  [
    'a route with more',
    [{ name: 'a', signal: 'logs', when: true, route: { tenant: 'b', from: 'a' } }],
    'from',
  ],
  [
    'two redactions',
    [{ name: 'a', signal: 'logs', redact: ['body'], text: 'x', remove: true }],
    'has one of',
  ],
  [
    'a text without redaction',
    [{ name: 'a', signal: 'logs', when: 'true', drop: true, text: 'x' }],
    'has one of',
  ],
  [
    'a hash without key',
    [{ name: 'a', signal: 'logs', redact: ['body'], hash: 'hmac-sha256' }],
    'processing.hash_key',
  ],
])('%s is refused by what is wrong', (_, rules, message) => {
  expect(refusal(rules)).toContain(message)
})

test('a short key is refused without telling it', () => {
  const message = refusal([], { 'processing.hash_key': 'secret' })
  expect(message).toContain('processing.hash_key')
  expect(message).not.toContain('secret')
})
