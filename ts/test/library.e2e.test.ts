/** otlake inside a process: the package's exports, with no port and with some. */

import { afterEach, beforeEach, expect, test } from 'vitest'
import { Otlake, OtlakeError } from '../index.js'
import { traceRequest } from '../testing/otlp.js'
import { temporaryFolder } from '../testing/server.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(() => folder.remove())

test('what is ingested is in the next answer, and in the one after opening again', async () => {
  const lake = await Otlake.open({ dataDir: folder.path })
  const result = await lake.ingest('traces', JSON.stringify(traceRequest('lib', 1, 5)))
  expect(result).toMatchObject({ accepted: 5, rejected: 0, message: null })
  expect(result.session).toBe(lake.session())
  const count = 'SELECT service_name, count(*) AS n FROM spans WHERE kind = $1 GROUP BY 1'
  const live = await lake.sql(count, [2], { session: result.session ?? '' })
  expect(live.toArray().map((row) => [row.service_name, Number(row.n)])).toEqual([['lib', 5]])
  expect(lake.stats()).toMatchObject({ liveRows: 5, fileRows: 0 })
  await lake.flush()
  expect(lake.stats()).toMatchObject({ liveRows: 0, fileRows: 5, logSegments: 1 })
  await lake.close()

  const again = await Otlake.open({ dataDir: folder.path })
  const stored = await again.sql(count, [2], { consistency: 'eventual' })
  expect(Number(stored.get(0)?.n)).toBe(5)
  const trace = (await again.trace('00000000000000000000000000000002')) as {
    resourceSpans: { scopeSpans: { spans: unknown[] }[] }[]
  }
  expect(trace.resourceSpans[0]?.scopeSpans[0]?.spans).toHaveLength(5)
  expect(await again.trace('f'.repeat(32))).toBeNull()
  await again.close()
})

test('rows are given back as the OTLP that came in, which can be stored again', async () => {
  const lake = await Otlake.open({ dataDir: folder.path })
  await lake.ingest('traces', JSON.stringify(traceRequest('otlp', 1, 3)))
  await lake.ingest('traces', JSON.stringify(traceRequest('others', 2, 4)))
  const query = 'SELECT * FROM spans WHERE service_name = $1'
  const request = await lake.otlp(query, ['otlp'])
  expect(await lake.ingest('traces', request, { tenant: 'copy' })).toMatchObject({ accepted: 3 })
  const copied = await lake.otlp(query, ['otlp'], { tenant: 'copy' })
  expect(Buffer.from(copied).equals(request)).toBe(true)
  expect(await lake.otlp(query, ['nobody'])).toHaveLength(0)
  const refused = await lake.otlp('SELECT name FROM spans').catch((thrown: unknown) => thrown)
  expect((refused as OtlakeError).code).toBe('QUERY_FORMAT')
  await lake.close()
})

test('errors are typed and a second close is one of them', async () => {
  const lake = await Otlake.open({ dataDir: folder.path })
  const refused = async (work: Promise<unknown>) => {
    const error = await work.catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OtlakeError)
    return (error as OtlakeError).code
  }
  expect(await refused(lake.ingest('traces', new Uint8Array([10, 99])))).toBe('OTLP_MALFORMED')
  expect(await refused(lake.sql('SELECT nothing FROM spans'))).toBe('QUERY_INVALID')
  expect(await refused(lake.sql('DROP TABLE spans'))).toBe('QUERY_NOT_READ_ONLY')
  expect(await refused(lake.sql('SELECT $1'))).toBe('QUERY_PARAMETERS')
  expect(await refused(lake.trace('xyz'))).toBe('TRACE_ID')
  expect(await refused(Otlake.open({ dataDir: folder.path }))).toBe('NODE_DIRECTORY_LOCKED')
  await lake.close()
  expect(await refused(lake.close())).toBe('HANDLE_CLOSED')
})

test('serve opens ports on the same data', async () => {
  const lake = await Otlake.open({ dataDir: folder.path })
  await lake.ingest('traces', JSON.stringify(traceRequest('before', 1, 2)))
  const { http, otlpHttp, flight } = await lake.serve({
    http: '127.0.0.1:0',
    otlpHttp: '127.0.0.1:0',
  })
  expect(flight).toBeNull()
  const sent = await fetch(`http://${otlpHttp}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(traceRequest('after', 2, 3)),
  })
  expect(sent.status).toBe(200)
  const url = `http://${http}/api/v1/sql?query=${encodeURIComponent('SELECT count(*) AS n FROM spans')}`
  const answer = (await (await fetch(url)).json()) as { rows: { n: number }[] }
  expect(answer.rows).toEqual([{ n: 5 }])
  await lake.close()
})
