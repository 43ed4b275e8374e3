/** The group-by of the table, beside DuckDB on the same files: the same answer, or it fails. */

import { cpus } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'

export const GROUP_BY = `SELECT service_name, name, count(*) AS spans,
    count(*) FILTER (WHERE status_code = 2) AS errors,
    avg(duration_ns) AS mean, max(duration_ns) AS most
  FROM spans GROUP BY service_name, name ORDER BY service_name, name`

/** The milliseconds of one answer, and the answer. */
export async function timed(ask) {
  const began = performance.now()
  const rows = await ask()
  return { ms: performance.now() - began, rows }
}

/** DuckDB over a node's files, as one connection that answers SQL with rows. */
export async function duckdb(node) {
  const instance = await DuckDBInstance.create(':memory:', { threads: String(cpus().length) })
  const connection = await instance.connect()
  const files = join(node.dataDir, 'tables/spans/tenant=*/**/*.parquet')
  await connection.run(
    `CREATE VIEW spans AS SELECT * FROM read_parquet('${files}', hive_partitioning = true)`,
  )
  return {
    ask: async (sql) => (await connection.runAndReadAll(sql)).getRowObjects(),
    close: () => {
      connection.closeSync()
      instance.closeSync()
    },
  }
}

/** The exact columns, as text, so that two engines' numbers compare. */
const exact = (rows) =>
  JSON.stringify(
    rows.map(({ service_name, name, spans, errors, most }) => [
      service_name,
      name,
      ...[spans, errors, most].map(Number),
    ]),
  )

/** Both engines in turns, after one answer each that has to be the same. */
export async function groupBy({ report, rounds, node }) {
  const other = await duckdb(node)
  try {
    const [ours, theirs] = [await node.sql(GROUP_BY), await other.ask(GROUP_BY)]
    if (exact(ours) !== exact(theirs)) throw new Error('DuckDB answers otherwise')
    for (let turn = 0; turn < rounds; turn++) {
      const mine = await timed(() => node.sql(GROUP_BY))
      const its = await timed(() => other.ask(GROUP_BY))
      report.add('group_by', mine.ms, its.ms, 'DuckDB')
    }
  } finally {
    other.close()
  }
}
