/**
 * Writes docs/limits.md from the constants and their comments: all of native/base/src/limits.rs,
 * with the settings that replace them (native/binding/src/records.rs hands a default to
 * TypeScript, ts/node/settings.ts gives it a name), and those of other sources that a client or an
 * operator can meet. `--print` prints the page and writes nothing.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path) => readFileSync(join(root, path), 'utf8')
const PAGE = join(root, 'docs/limits.md')
const BASE = 'native/base/src/limits.rs'
const CONSTANT = /((?:^\/\/\/.*\n)+)(?:pub(?:\(\w+\))? )?const (\w+): [\w:]+ = ([^;]+);/gm

/** The constants that no setting changes, by the source that has them. */
const FIXED = {
  'native/receive/src/server.rs': [
    'MAX_CONNECTIONS',
    'MAX_STREAMS',
    'MAX_HEADER_BYTES',
    'HANDSHAKE_GRACE',
  ],
  'native/decode/src/json/jaeger.rs': ['MAX_PROCESSES'],
  'native/peer/src/config.rs': [
    'MAX_MESSAGE_BYTES',
    'MAX_CALLS',
    'MAX_STREAMS',
    'STREAM_WINDOW_BYTES',
    'CALL_BYTES',
    'MAX_CONNECTIONS',
    'DIAL_TIMEOUT',
    'MAX_BACKOFF',
    'KEEPALIVE_INTERVAL',
    'KEEPALIVE_TIMEOUT',
  ],
  'native/route/src/owners.rs': ['MAX_NODES', 'MAX_RULES'],
  'native/route/src/bundle.rs': ['BUNDLE_SLICES', 'BUNDLE_BYTES'],
  'native/route/src/lane.rs': ['MAX_SLICES', 'MAX_SLICES_BYTES', 'UNDER_WAY', 'HOLD'],
  'native/processor/src/gate.rs': ['REQUESTS_IN_FLIGHT'],
  'native/log/src/log.rs': ['QUEUE_RECORDS', 'QUEUE_BYTES'],
  'native/log/src/writer.rs': ['RELAXED_SYNC_INTERVAL'],
  'native/decode/src/json/mod.rs': ['MAX_NESTING'],
  'native/query/src/flight/prepared.rs': ['MAX_STATEMENTS', 'EXPIRY'],
  'native/query/src/distributed/limits.rs': [
    'MAX_TASKS',
    'MAX_WORKER_TASKS',
    'MAX_ATTEMPTS',
    'SHUNNED',
    'WHOLE_ANSWER_BYTES',
    'TASK_BUFFER_BYTES',
    'TASK_WINDOW_BYTES',
    'MAX_EXCHANGES',
  ],
  'native/catalog/src/columns.rs': ['CHECKPOINT_INTERVAL', 'LOG_RETENTION'],
  'native/consensus/src/limits.rs': [
    'MAX_NAME_BYTES',
    'MAX_VALUE_BYTES',
    'MAX_STREAMS',
    'MAX_SETTINGS',
    'MAX_INSTANCES',
    'MAX_LEASES',
    'MAX_LOG_NAMES',
    'KEPT_COMMITS',
    'MAX_COMMITS',
    'MAX_TTL_MS',
    'MAX_MEMBERS',
    'MAX_PENDING',
    'MAX_LOG_ENTRIES',
  ],
  'native/shard/src/merge/mod.rs': ['MERGE_FILES'],
}

/** Limits that TypeScript asks for and no setting replaces. */
const UNSET = ['deriveMaxDimensions', 'deriveMaxBounds']

const known = new Map()

/** The number that an expression of constants is. */
function number(expression) {
  const text = expression
    .replaceAll(/Duration::from_secs\(([^)]*)\)/g, '1000 * ($1)')
    .replaceAll(/Duration::from_millis\(([^)]*)\)/g, '$1')
    .replaceAll(/(?:\w+::)*\b([A-Z][A-Z0-9_]+)\b/g, (name, constant) => known.get(constant) ?? name)
  if (!/^[\d\s_*/+()]+$/.test(text)) throw new Error(`${expression} is no number`)
  return Function(`return ${text}`)()
}

/** A comment's first sentence; the value says its unit itself. */
function sentence(comment) {
  const text = comment.replaceAll(/\s*\/\/\/ ?/g, ' ').trim()
  return text.replace(/\.(?: .*)?$/, '').replace(/,? in (?:bytes|milliseconds)/, '')
}

/** The constants of a source with their comments, in order. */
function constants(path) {
  return [...read(path).matchAll(CONSTANT)].map(([, comment, name, expression]) => {
    const kind = expression.includes('Duration::') || name.endsWith('_MS') ? 'time' : 'number'
    return { name, comment: sentence(comment), expression, kind }
  })
}

const UNITS = {
  bytes: [
    [1024 ** 3, 'GiB'],
    [1024 ** 2, 'MiB'],
    [1024, 'KiB'],
    [1, 'bytes'],
  ],
  time: [
    [3_600_000, 'h'],
    [60_000, 'min'],
    [1000, 's'],
    [1, 'ms'],
  ],
}

/** A value as people write it. */
function shown(value, name, kind) {
  const units = kind === 'time' ? UNITS.time : /BYTES/.test(name) ? UNITS.bytes : null
  if (units === null) return value.toLocaleString('en-US')
  const [size, unit] = units.find(([each]) => value % each === 0)
  const text = `${(value / size).toLocaleString('en-US')} ${unit}`
  return name.endsWith('_PER_SECOND') ? `${text}/s` : text
}

/** The setting whose default is a constant. */
function settings() {
  const records = [
    ...read('native/binding/src/records.rs').matchAll(/\(\s*"(\w+)",\s*defaults::(\w+)/g),
  ]
  const config = ['settings', 'derive-config', 'sampling-config']
    .map((name) => read(`ts/node/${name}.ts`))
    .join('')
  const paths = [...config.matchAll(/'([\w.]+)': \{([\s\S]*?)\n {4}\},/g)]
  return new Map(
    records.flatMap(([, key, constant]) => {
      const found = paths.find(([, , body]) => body.includes(`default: limit('${key}')`))
      if (UNSET.includes(key)) return []
      if (found === undefined) throw new Error(`ts/node/settings.ts has no setting for ${key}`)
      return [[constant, found[1]]]
    }),
  )
}

const row = (comment, value, ...more) => `| ${[comment, value, ...more].join(' | ')} |`

const bySetting = settings()
const base = constants(BASE).map(({ name, comment, expression, kind }) => {
  const value = number(expression)
  known.set(name, String(value))
  const setting = bySetting.get(name)
  return row(comment, shown(value, name, kind), setting ? `\`${setting}\`` : '')
})

const fixed = Object.entries(FIXED).flatMap(([path, wanted]) => {
  const there = new Map(constants(path).map((constant) => [constant.name, constant]))
  return wanted.map((name) => {
    const constant = there.get(name)
    if (constant === undefined) throw new Error(`${path} has no ${name} with a comment`)
    return row(constant.comment, shown(number(constant.expression), name, constant.kind))
  })
})

/** How slow a client may be: fields with their comments, and the default that a node has. */
function pace() {
  const source = read('native/receive/src/body.rs')
  const fields = /pub struct Pace \{([\s\S]*?)\n\}/.exec(source)?.[1] ?? ''
  const defaults = /impl Default for Pace \{([\s\S]*?)\n\}/.exec(source)?.[1] ?? ''
  return [...fields.matchAll(/((?: *\/\/\/.*\n)+) *pub (\w+): (\w+)/g)].map(
    ([, comment, name, type]) => {
      const expression = new RegExp(`${name}: (.*),`).exec(defaults)?.[1]
      if (expression === undefined) throw new Error(`Pace has no default for ${name}`)
      const unit = type === 'Duration' ? 'time' : 'number'
      return row(sentence(comment), shown(number(expression), name.toUpperCase(), unit))
    },
  )
}

const page = `# Limits

Everything has a limit. What a client or an operator meets is here with its default; what happens
at each, and who gets how much of a budget, is in [overload.md](overload.md), what is done to single
records in [validation.md](validation.md), and every setting in [settings.md](settings.md).

Generated by \`npm run generate:limits\` from the constants.

| limit | default | setting |
|---|---|---|
${base.join('\n')}

\`receive.max_in_flight_bytes\`, all OTLP requests being received, is twice the largest request.

## Without a setting

| limit | |
|---|---|
${[...pace(), ...fixed].join('\n')}
`
if (process.argv.includes('--print')) process.stdout.write(page)
else writeFileSync(PAGE, page)
