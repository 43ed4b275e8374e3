/**
 * `otlake demo`: a node in a temporary folder, real telemetry from the OpenTelemetry SDK, and a
 * few questions answered.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../node/config.js'
import { call } from './client.js'
import { startNode, stopSignal } from './serve.js'
import { sendShopTelemetry } from './shop.js'
import { formatTable } from './table.js'
import { bold, cyan, dim, green } from './terminal.js'
import { formatTrace, type OtlpTrace } from './trace.js'

const ORDERS = 40

interface Answer {
  columns: { name: string; type: string }[]
  rows: Record<string, unknown>[]
}

const QUESTIONS: [string, string][] = [
  [
    'Which operations are slow, and which fail?',
    `SELECT service_name, name, count(*) AS spans,
       round(approx_percentile_cont(duration_ns, 0.95) / 1e6, 2) AS p95_ms,
       count(*) FILTER (WHERE status_code = 2) AS errors
     FROM spans GROUP BY service_name, name ORDER BY p95_ms DESC LIMIT 8`,
  ],
  [
    'What do the failed orders have in common? (an attribute, straight from its JSON)',
    `SELECT attributes['shop.payment.method'] AS payment, count(*) AS orders,
       count(*) FILTER (WHERE status_code = 2) AS failed
     FROM spans WHERE name = 'POST /orders' GROUP BY 1 ORDER BY failed DESC`,
  ],
  [
    'What was logged by the slowest request? (logs joined to spans)',
    `SELECT l.severity_text AS severity, l.service_name, l.body
     FROM logs l JOIN (SELECT trace_id FROM spans WHERE parent_span_id IS NULL
       ORDER BY duration_ns DESC LIMIT 1) slow ON l.trace_id = slow.trace_id
     ORDER BY l.time_unix_nano`,
  ],
  [
    'How much was sold? (a counter, by one of its attributes)',
    `SELECT attributes['shop.country'] AS country, max(value) AS orders
     FROM metrics_sum WHERE name = 'shop.orders' GROUP BY 1 ORDER BY 2 DESC`,
  ],
]

/** Runs the demo; the exit code is 0 when every answer is what was sent. */
export async function demo(options: { once: boolean }): Promise<number> {
  const stopped = stopSignal()
  const folder = await mkdtemp(join(tmpdir(), 'otlake-demo-'))
  const config = loadConfig({ flags: { data_dir: folder, log_level: 'warn', ...(await ports()) } })
  const { node, stop } = await startNode(config)
  try {
    const at = node.addresses
    const http = `http://${at.http}`
    console.log(`${bold('otlake')} is running on data in ${folder}\n`)
    console.log(`Sending ${ORDERS} orders of a small shop with the OpenTelemetry SDK …`)
    const sent = await sendShopTelemetry(`http://${at.otlpHttp}`, ORDERS)
    const ask = async (query: string, parameters: unknown[] = []): Promise<Answer> => {
      const body = JSON.stringify({ query, parameters, format: 'json' })
      const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body }
      return (await (await call({ url: http }, '/api/v1/sql', init)).json()) as Answer
    }
    const count = async (table: string) =>
      Number((await ask(`SELECT count(*) AS n FROM ${table}`)).rows[0]?.n)
    const stored = { spans: await count('spans'), logs: await count('logs') }
    console.log(
      green(`${stored.spans} spans and ${stored.logs} log records are durable and queryable.\n`),
    )
    let right = stored.spans === sent.spans && stored.logs === sent.logs
    for (const [question, query] of QUESTIONS) {
      const answer = await ask(query)
      right &&= answer.rows.length > 0
      console.log(`${bold(question)}\n${dim(query.replace(/\n {5}/g, '\n'))}\n`)
      console.log(`${formatTable(answer.columns, answer.rows)}\n`)
    }
    const trace = await call({ url: http }, `/api/v1/traces/${sent.traceId}`)
    console.log(`${bold('One trace, by its id')}\n${dim(`npx otlake trace ${sent.traceId}`)}\n`)
    console.log(`${formatTrace((await trace.json()) as OtlpTrace)}\n`)
    if (!right) {
      console.error(`sent ${sent.spans} spans and ${sent.logs} logs, but not all was answered`)
      return 1
    }
    console.log(`${bold('Yours to try')}
  page            ${cyan(http)}
  OTLP            ${cyan(`grpc://${at.otlpGrpc}`)}  ${cyan(`http://${at.otlpHttp}`)}
  SQL             npx otlake query --url ${http} "SELECT * FROM spans LIMIT 5"
  Flight SQL      ${cyan(`grpc://${at.flight}`)}
  follow the logs npx otlake tail logs --url ${http}
  files           ${join(folder, 'tables')} ${dim('(written within 10 seconds, and on stopping)')}`)
    if (options.once) return 0
    console.log('\nIt keeps running until Ctrl-C.')
    await stopped
    return 0
  } finally {
    await stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/** The usual ports where they are free, any others where they are not. */
async function ports(): Promise<Record<string, string>> {
  const usual = {
    'listen.otlp_grpc': 4317,
    'listen.otlp_http': 4318,
    'listen.http': 4319,
    'listen.flight': 4320,
    'listen.cluster': 4321,
  }
  const free = await Promise.all(Object.values(usual).map(isFree))
  if (free.every(Boolean)) return {}
  console.log('A usual port is taken: the demo listens on others, named below.')
  return Object.fromEntries(Object.keys(usual).map((setting) => [setting, '127.0.0.1:0']))
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
