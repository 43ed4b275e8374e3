/** Spans by other ways than the table's: larger requests, and HTTP. */

import { ingest } from './ingest.mjs'

export async function shapes({ report, length }) {
  const rows = []
  for (const transport of ['grpc', 'http']) {
    for (const records of [1000, 8192]) {
      rows.push(await ingest({ transport, records, seconds: length(15, 3, 1) }))
    }
  }
  report.show('Spans by transport and size of request, server on one core', rows)
}
