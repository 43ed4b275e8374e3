/**
 * Queries over many spans, beside DuckDB on the same files, and the HTTP API under autocannon.
 */

import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import autocannon from 'autocannon'
import { load, Node, percentile, round } from '../node.mjs'

const GROUP_BY = `SELECT service_name, name, count(*) AS spans,
    count(*) FILTER (WHERE status_code = 2) AS errors,
    avg(duration_ns) AS mean, max(duration_ns) AS most
  FROM spans GROUP BY service_name, name ORDER BY service_name, name`

async function timed(rounds, ask) {
  await ask()
  const times = []
  for (let number = 0; number < rounds; number++) {
    const began = performance.now()
    await ask(number)
    times.push(performance.now() - began)
  }
  return { p50_ms: round(percentile(times, 0.5)), p99_ms: round(percentile(times, 0.99)) }
}

export async function queries({ spans, rounds, seconds }) {
  const node = await Node.start({ server: '0,1' })
  try {
    const report = await load('0,1', [
      '--grpc',
      node.addresses.otlpGrpc,
      '--records',
      8192,
      '--requests',
      Math.ceil(spans / 8192),
      '--seconds',
      600,
    ])
    await node.flushed()
    const counted = await node.count('spans')
    if (counted !== report.records_acknowledged) {
      throw new Error(`acknowledged ${report.records_acknowledged} spans, SQL counts ${counted}`)
    }
    const metrics = await node.metrics()
    const ids = (await node.sql('SELECT DISTINCT trace_id FROM spans LIMIT 200')).map(
      (row) => row.trace_id,
    )

    const duckdb = await (await DuckDBInstance.create(':memory:', { threads: '2' })).connect()
    const files = join(node.dataDir, 'tables/spans/**/*.parquet')
    await duckdb.run(
      `CREATE VIEW spans AS SELECT * FROM read_parquet('${files}', hive_partitioning = true)`,
    )
    const duck = async (sql) => (await duckdb.runAndReadAll(sql)).getRowObjects()

    const ours = await node.sql(GROUP_BY)
    const theirs = await duck(GROUP_BY)
    const figures = (rows) =>
      JSON.stringify(
        rows.map((row) => [
          row.service_name,
          row.name,
          Number(row.spans),
          Number(row.errors),
          Number(row.most),
        ]),
      )
    if (figures(ours) !== figures(theirs)) throw new Error('DuckDB answers otherwise')

    const group = await timed(rounds, () => node.sql(GROUP_BY))
    const groupDuck = await timed(rounds, () => duck(GROUP_BY))
    const lookUp = async (number = 0) => {
      const answer = await fetch(node.url(`/api/v1/traces/${ids[number % ids.length]}`))
      if (!answer.ok) throw new Error(`the trace ${ids[number % ids.length]}: ${answer.status}`)
      return answer.arrayBuffer()
    }
    // Each id once, then each once more.
    const trace = await timed(ids.length - 1, (number = -1) => lookUp(number + 1))
    const traceAgain = await timed(ids.length, lookUp)
    const absent = await timed(ids.length, (number = 0) =>
      fetch(node.url(`/api/v1/traces/${String(number).padStart(32, 'f')}`)).then((r) => r.text()),
    )
    const traceDuck = await timed(rounds, (number = 0) =>
      duck(`SELECT * FROM spans WHERE trace_id = unhex('${ids[number % ids.length]}')`),
    )

    const cannon = (options) =>
      new Promise((resolve, reject) => {
        autocannon({ connections: 16, duration: seconds, ...options }, (error, result) =>
          error ? reject(error) : resolve(result),
        )
      })
    const byId = await cannon({ url: node.url(`/api/v1/traces/${ids[0]}`) })
    const small = await cannon({
      url: node.url('/api/v1/sql'),
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: 'SELECT 1 AS one', format: 'json' }),
    })
    const health = await cannon({ url: node.url('/health') })
    const http = (result) => ({
      requests_per_second: Math.round(result.requests.average),
      p50_ms: result.latency.p50,
      p99_ms: result.latency.p99,
      not_2xx: result.non2xx,
    })
    return {
      spans: counted,
      files: metrics.get('otlake_table_files{table="spans"}'),
      load_spans_per_second: Math.round(report.records_per_second),
      group_by: {
        otlake: group,
        duckdb: groupDuck,
        duckdb_over_otlake: round(groupDuck.p50_ms / group.p50_ms),
      },
      trace_by_id: {
        otlake: trace,
        otlake_again: traceAgain,
        otlake_absent: absent,
        duckdb: traceDuck,
        duckdb_over_otlake: round(traceDuck.p50_ms / trace.p50_ms),
      },
      http: { trace_by_id: http(byId), sql_select_1: http(small), health: http(health) },
    }
  } finally {
    await node.remove()
  }
}
