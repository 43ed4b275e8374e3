/**
 * otlake inside a Node.js process: open a store, ingest one trace, ask for it in SQL and by its
 * id, listen for more, close.
 *
 *   node examples/library.mjs [folder]
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Otlake, OtlakeError } from 'otlake'

const given = process.argv[2]
const dataDir = given ?? mkdtempSync(join(tmpdir(), 'otlake-example-'))
const traceId = '5b8efff798038103d269b633813fc60c'

/** One span in OTLP/JSON; an exporter's protobuf bytes are taken as they are. */
function request(spanId, name, milliseconds) {
  const start = BigInt(Date.now()) * 1_000_000n
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: 'checkout' } }] },
        scopeSpans: [
          {
            spans: [
              {
                traceId,
                spanId,
                name,
                kind: 2,
                startTimeUnixNano: String(start),
                endTimeUnixNano: String(start + BigInt(milliseconds) * 1_000_000n),
              },
            ],
          },
        ],
      },
    ],
  })
}

const lake = await Otlake.open({ dataDir, settings: { 'flush.interval_ms': 1000 } })
try {
  // Resolves when the span is on stable storage and visible to the next query.
  const stored = await lake.ingest('traces', request('eee19b7ec3c1b174', 'POST /orders', 40))
  console.log(`accepted ${stored.accepted}, rejected ${stored.rejected}`)

  // An apache-arrow Table; counts are bigint.
  const table = await lake.sql(
    'SELECT name, count(*) AS spans, max(duration_ns) AS longest FROM spans WHERE service_name = $1 GROUP BY name',
    ['checkout'],
    { consistency: 'session', session: stored.session },
  )
  for (const row of table) {
    console.log(`${row.name}: ${row.spans} span, ${Number(row.longest) / 1e6} ms`)
  }

  const trace = await lake.trace(traceId)
  console.log(`trace ${traceId}: ${trace.resourceSpans.length} resource`)

  try {
    await lake.sql('DROP TABLE spans')
  } catch (error) {
    if (!(error instanceof OtlakeError)) throw error
    console.log(`${error.code}: ${error.fix}`)
  }

  // The same store, open to exporters as well.
  const { otlpHttp } = await lake.serve({ otlpHttp: '127.0.0.1:0' })
  const sent = await fetch(`http://${otlpHttp}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: request('eee19b7ec3c1b175', 'GET /orders', 5),
  })
  const count = await lake.sql('SELECT count(*) AS n FROM spans')
  console.log(`HTTP ${sent.status}, ${count.get(0).n} spans in all`)
} finally {
  await lake.close()
  if (given === undefined) rmSync(dataDir, { recursive: true })
}
