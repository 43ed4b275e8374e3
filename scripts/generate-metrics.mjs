/**
 * Writes docs/metrics.md from what registers the metrics: native/base/src/metrics.rs, bucket_metrics.rs,
 * file_metrics.rs, job_metrics.rs and metadata_metrics.rs, whose fields' comments name the labels and, in parentheses, their values; the
 * TypeScript sources; and prom-client's own, as this machine's Node.js has them (on Linux it has
 * the most). `--print` prints the page and writes nothing.
 *
 * A metric that it cannot read, or a label without values, ends it: the page has all or is not made.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import prometheus from 'prom-client'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path) => readFileSync(join(root, path), 'utf8')
const PAGE = join(root, 'docs/metrics.md')
const FIELD = /((?:^ {4}\/\/\/.*\n)+) {4}pub (\w+): ([\w<>, ()-]+),$/gm
const TEXT = String.raw`"((?:[^"\\]|\\.)*)"`
/** `field: add!("name", "help", Unit::Bytes, …)`, and the same of a function `by_…`. */
const NAMED = new RegExp(
  String.raw`(\w+): (?:add!|by_\w+)\(\s*${TEXT},\s*${TEXT},\s*(?:(?:Some\()?Unit::(\w+))?`,
  'g',
)
/** `registry.register("name", "help", field.clone())`, or `register_with_unit` and its unit. */
const REGISTERED = new RegExp(
  String.raw`registry\.register(?:_with_unit)?\(\s*${TEXT},\s*${TEXT},\s*(?:Unit::(\w+),\s*)?(\w+)\.clone\(\)`,
  'g',
)

/** The texts between quotes in what a pattern finds. */
function quoted(path, pattern) {
  const found = pattern.exec(read(path))?.[1]
  if (found === undefined) throw new Error(`${path} has no ${pattern}`)
  return [...found.matchAll(/"(\w+)"/g)].map(([, text]) => text)
}

/** The same of a TypeScript source. */
function quotedIn(path, pattern) {
  const found = pattern.exec(read(path))?.[1]
  if (found === undefined) throw new Error(`${path} has no ${pattern}`)
  return [...found.matchAll(/'(\w+)'/g)].map(([, text]) => text)
}

const names = (type) =>
  quoted(
    'native/base/src/signal.rs',
    new RegExp(
      String.raw`impl ${type} \{[\s\S]*?fn name\(self\)[\s\S]*?match self \{([\s\S]*?)\n {8}\}`,
    ),
  )
const KINDS = quoted(
  'native/base/src/error.rs',
  /fn name\(self\)[\s\S]*?match self \{([\s\S]*?)\n {8}\}/,
)
const JOBS = 'native/base/src/job_metrics.rs'
const BUCKET = 'native/base/src/bucket_metrics.rs'
const DERIVE = 'native/base/src/derive_metrics.rs'
const SAMPLING = 'native/base/src/sampling_metrics.rs'
const FILES = 'native/base/src/file_metrics.rs'
const PEERS = 'native/base/src/peer_metrics.rs'
const METADATA = 'native/base/src/metadata_metrics.rs'
const RULES = 'native/base/src/rule_metrics.rs'
const NOTES = 'native/decode/src/notes.rs'

/** The values of labels that mean the same everywhere. */
const EVERYWHERE = {
  signal: names('Signal'),
  table: names('Table'),
  job: quoted(JOBS, /const JOBS: .*= \[(.*)\];/),
  invariant: quoted(
    'native/base/src/invariant.rs',
    /fn id\(self\)[\s\S]*?match self \{([\s\S]*?)\n {8}\}/,
  ),
  peer: "the node's name; `other` for those beyond 64",
  code: 'what is in [errors.md](errors.md)',
  rule: 'the name of a rule of [processing.md](processing.md)',
  follower: 'the name of a node that holds copies of what this one writes',
  route: 'the path as docs/http.md has it',
  status: 'the HTTP status',
}

/** Where the metrics of a cluster's node are made. */
const CLUSTER = join('node', 'cluster')
const FAULTS = {
  kind: quotedIn('ts/cluster/faults.ts', /export type FaultKind =([\s\S]*?)\n\n/),
}
const OPERATIONS = {
  operation: quoted(BUCKET, /const OPERATIONS: .*= \[([\s\S]*?)\];/),
}
const DECIDED = {
  outcome: quoted(SAMPLING, /const OUTCOMES: .*= \[(.*)\];/),
  policy:
    'the name that it has in `sampling.policies`; `none` of what no policy kept, `late` of spans that came after the decision',
}
const DIRECTIONS = { direction: ['sent', 'received'] }

/** The values of labels that are a metric's own, where the code has a list of them. */
const OWN = {
  bucket_requests: { ...OPERATIONS, outcome: quoted(BUCKET, /const OUTCOMES: .*= \[(.*)\];/) },
  bucket_request_duration: OPERATIONS,
  cluster_members: {
    status: quotedIn('ts/cluster/messages.ts', /export type Status = (.*)/),
  },
  cluster_faults: FAULTS,
  cluster_open_faults: FAULTS,
  cluster_gossip_bytes: DIRECTIONS,
  cluster_gossip_packets: DIRECTIONS,
  cluster_gossip_refused: {
    reason: quotedIn('ts/cluster/wire.ts', /export type Refusal = (.*)/),
  },
  cluster_probes: { outcome: ['answered', 'failed'] },
  cluster_recoveries: { outcome: ['complete', 'incomplete', 'failed'] },
  derive_edges: { connection: quoted(DERIVE, /const CONNECTIONS: .*= \[(.*)\];/) },
  derive_left_out: {
    reason: quoted(DERIVE, /const REASONS: .*= \[(.*)\];/),
    of: quoted(DERIVE, /const LEFT_OUT: .*= \[(.*)\];/),
  },
  job_runs: { outcome: quoted(JOBS, /const OUTCOMES: .*= \[(.*)\];/) },
  metadata_election_rounds: { outcome: quoted(METADATA, /const ROUND_OUTCOMES: .*= \[(.*)\];/) },
  metadata_proposals: { outcome: quoted(METADATA, /const PROPOSAL_OUTCOMES: .*= \[(.*)\];/) },
  sampling_early: { reason: quoted(SAMPLING, /const EARLY: .*= \[(.*)\];/) },
  sampling_spans: DECIDED,
  sampling_traces: DECIDED,
  records_changed: { reason: quoted(NOTES, /CHANGED: &Reasons = &\[([\s\S]*?)\];/) },
  records_flagged: { reason: quoted(NOTES, /FLAGGED: &Reasons = &\[([\s\S]*?)\];/) },
  records_rejected: {
    reason: [
      ...quoted('native/decode/src/rejections.rs', /pub mod reason \{([\s\S]*?)\n\}/),
      ...quoted(
        'native/processor/src/ledger.rs',
        /\n(?:pub\(crate\) )?fn reason\([\s\S]*?match code \{([\s\S]*?)\n {4}\}/,
      ),
    ],
  },
}

/** The labels that a field's comment names, each with its values. */
function labelsOf(name, comment) {
  const said = comment.replaceAll(/\((?:I\d+(?:, )?)+\)/g, '')
  const at = said.search(/\bby `/)
  if (at < 0) return {}
  const labels = said.slice(at).matchAll(/`(\w+)`(?:\s*\(([^)]*)\))?/g)
  return Object.fromEntries(
    [...labels].map(([, label, listed]) => {
      const values = OWN[name]?.[label] ?? expand(listed) ?? EVERYWHERE[label]
      if (values === undefined) {
        throw new Error(`${name}: name the values of \`${label}\` in parentheses behind it`)
      }
      return [label, values]
    }),
  )
}

/** The values of a list in words: commas, `or`, and `the error's kind` for each of those. */
function expand(listed) {
  const values = listed?.split(/, | or /)
  return values?.flatMap((value) => (value === "the error's kind" ? KINDS : value))
}

/** As clients see it: OpenMetrics has the unit and, of a counter, `_total` at the end. */
const seen = (name, type, unit) =>
  `otlake_${name}${unit ? `_${unit}` : ''}${type === 'counter' ? '_total' : ''}`

/** The metrics of a Rust source. */
function native(path) {
  const source = read(path)
  const registered = new Map()
  for (const [, field, name, help, unit] of source.matchAll(NAMED)) {
    registered.set(field, { name, help, unit })
  }
  for (const [, name, help, unit, field] of source.matchAll(REGISTERED)) {
    registered.set(field, { name, help, unit })
  }
  const metrics = []
  for (const [, comment, field, kind] of source.matchAll(FIELD)) {
    const type = /Histogram|Seconds/.test(kind)
      ? 'histogram'
      : /Gauge/.test(kind)
        ? 'gauge'
        : /Counter|ByTable/.test(kind)
          ? 'counter'
          : null
    if (type === null) continue
    const { name, help, unit: given } = registered.get(field) ?? {}
    if (name === undefined) throw new Error(`${path}: \`${field}\` is not registered as expected`)
    registered.delete(field)
    const unit = given?.toLowerCase() ?? ''
    const labels = labelsOf(name, comment.replaceAll(/\s*\/\/\/ ?/g, ' '))
    metrics.push({
      name: seen(name, type, unit),
      type,
      unit,
      labels,
      help: JSON.parse(`"${help}"`),
    })
  }
  if (registered.size > 0) {
    throw new Error(`${path}: ${[...registered.keys()].join(', ')} has no field with a comment`)
  }
  return metrics
}

/** The metrics that TypeScript makes, of a node by itself or of a cluster's. */
function typescript(isOfACluster) {
  const files = readdirSync(join(root, 'ts'), { recursive: true })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .filter((file) => file.startsWith(CLUSTER) === isOfACluster)
    .sort()
  return files.flatMap((file) => {
    const source = read(join('ts', file))
    if (!source.includes("from 'prom-client'")) return []
    return [...source.matchAll(/new (Counter|Gauge|Histogram)\(\{([^}]*)\}\)/g)].map(
      ([, type, body]) => {
        const text = (key) => new RegExp(`${key}: '([^']*)'`).exec(body)?.[1]
        const labels = /labelNames: \[([^\]]*)\]/.exec(body)?.[1] ?? ''
        const name = text('name')
        const unit = /_(bytes|seconds)$/.exec(name)?.[1] ?? ''
        return {
          name: type === 'Counter' ? `${name}_total` : name,
          type: type.toLowerCase(),
          unit,
          help: text('help'),
          labels: Object.fromEntries(
            [...labels.matchAll(/'(\w+)'/g)].map(([, label]) => [
              label,
              OWN[name.replace(/^otlake_/, '')]?.[label] ?? EVERYWHERE[label],
            ]),
          ),
        }
      },
    )
  })
}

/** What prom-client tells of the process. */
function ofTheProcess() {
  const registry = new prometheus.Registry()
  prometheus.collectDefaultMetrics({ register: registry })
  return registry.getMetricsAsArray().map(({ name, type, help, labelNames }) => ({
    name: type === 'counter' && !name.endsWith('_total') ? `${name}_total` : name,
    type,
    unit: /_(bytes|seconds)(_total)?$/.exec(name)?.[1] ?? '',
    labels: Object.fromEntries(labelNames.map((label) => [label, null])),
    help,
  }))
}

function table(metrics) {
  const row = ({ name, type, unit, labels, help }) => {
    const named = Object.keys(labels).map((label) => `\`${label}\``)
    return `| \`${name}\` | ${type} | ${unit} | ${named.join(', ')} | ${help.replace(/\.$/, '')} |`
  }
  return ['| metric | type | unit | labels | |', '|---|---|---|---|---|', ...metrics.map(row)].join(
    '\n',
  )
}

/** Each label with its values, and the metrics whose values they are. */
function labelTable(metrics) {
  const rows = new Map()
  for (const { name, labels } of metrics) {
    for (const [label, values] of Object.entries(labels)) {
      if (values === undefined) throw new Error(`${name}: \`${label}\` has no values`)
      const listed = Array.isArray(values)
        ? values.map((value) => `\`${value}\``).join(', ')
        : values
      const key = `\`${label}\`|${listed}`
      const of = values === EVERYWHERE[label] ? 'any' : `\`${name}\``
      rows.set(key, new Set([...(rows.get(key) ?? []), of]))
    }
  }
  const shown = [...rows].map(([key, of]) => {
    const [label, listed] = key.split('|')
    return `| ${label} | ${[...of].join(', ')} | ${listed} |`
  })
  return ['| label | of | values |', '|---|---|---|', ...shown].join('\n')
}

const own = [
  ...native('native/base/src/metrics.rs'),
  ...native(BUCKET),
  ...native(FILES),
  ...native(JOBS),
  ...native(DERIVE),
  ...native(SAMPLING),
  ...native(RULES),
  ...native(PEERS),
  ...native(METADATA),
  ...typescript(false),
]
const ofACluster = typescript(true)
const page = `# Metrics

\`GET /metrics\` on the HTTP port answers in OpenMetrics, as Prometheus reads it. A histogram is read
as \`…_bucket\` with the label \`le\`, \`…_sum\` and \`…_count\`. What has labels appears with the first
value it is given; counters start at 0 with the process. Metrics are of the node, not of a tenant.

Generated by \`npm run generate:metrics\` from the sources that register them.

## Of otlake

${table(own)}

received = acknowledged + rejected (I4) holds for every signal. Any
\`otlake_invariant_violations_total\` but 0 is a defect. What reasons mean is in
[validation.md](validation.md), limits and what to watch at them in [overload.md](overload.md), jobs
in [jobs.md](jobs.md).

## Of a cluster

A node of a [cluster](operations.md#metrics-and-alarms) tells these, too, each as that node sees it.

${table(ofACluster)}

${labelTable(ofACluster)}

## Values of labels

${labelTable(own)}

## Of the process

From prom-client, on Linux.

${table(ofTheProcess())}
`
if (process.argv.includes('--print')) process.stdout.write(page)
else writeFileSync(PAGE, page)
