/**
 * Sends small traces and asks for each at once, by SQL and by its id in turns, at the default
 * consistency (`strong`): how long from sending, and from the acknowledgement, until the answer
 * that has it all. A process of its own beside the load client, so that neither waits for the other.
 */

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ask } from './http.mjs'
import { CLIENT, output } from './server.mjs'

const SPANS = 3
/** Between two probes, so that they are a small part of the load. */
const PAUSE_MS = 20
/** A span that is not found after so long is taken for lost. */
const LOST_MS = 10_000

/** Probes a node for so many seconds; resolves with the times of each kind of question. */
export async function probe({ otlpHttp, http }, seconds) {
  const program = fileURLToPath(import.meta.url)
  const command = [process.execPath, program, otlpHttp, http, seconds]
  return JSON.parse(await output('the probe', CLIENT, command))
}

function trace(traceId) {
  const now = BigInt(Date.now()) * 1_000_000n
  const spans = Array.from({ length: SPANS }, (_, index) => ({
    traceId,
    spanId: randomBytes(8).toString('hex'),
    name: 'probe',
    kind: 1,
    startTimeUnixNano: String(now + BigInt(index)),
    endTimeUnixNano: String(now + 1_000_000n),
  }))
  const attributes = [{ key: 'service.name', value: { stringValue: 'probe' } }]
  return JSON.stringify({ resourceSpans: [{ resource: { attributes }, scopeSpans: [{ spans }] }] })
}

/** How many spans of the trace an answer of each kind has. */
const questions = {
  async sql(http, id) {
    const query = `SELECT count(*) AS n FROM spans WHERE trace_id = '${id}'`
    const { status, text } = await ask(http, '/api/v1/sql', JSON.stringify({ query }))
    if (status !== 200) throw new Error(text)
    return Number(JSON.parse(text).rows[0].n)
  },
  async trace(http, id) {
    const { status, text } = await ask(http, `/api/v1/traces/${id}`)
    if (status === 404) return 0
    if (status !== 200) throw new Error(text)
    return text.split('"spanId"').length - 1
  },
}

async function main(otlpHttp, http, seconds) {
  const result = { spans: 0 }
  for (const kind of Object.keys(questions)) {
    result[kind] = { sent_ms: [], acknowledged_ms: [], missed: 0 }
  }
  const deadline = performance.now() + seconds * 1000
  // At least one of each kind, on a machine however slow.
  const lacking = () =>
    performance.now() < deadline + LOST_MS &&
    Object.keys(questions).some((kind) => result[kind].sent_ms.length === 0)
  for (let number = 0; performance.now() < deadline || lacking(); number++) {
    const kind = number % 2 === 0 ? 'sql' : 'trace'
    const id = randomBytes(16).toString('hex')
    const body = trace(id)
    const began = performance.now()
    const { status, text } = await ask(otlpHttp, '/v1/traces', body)
    const acknowledged = performance.now()
    // Refused under load: a probe that was not taken measures nothing.
    if (status === 429 || status === 503) {
      await sleep(PAUSE_MS)
      continue
    }
    if (status !== 200) throw new Error(`the probe was answered ${status}: ${text}`)
    result.spans += SPANS
    let found = await questions[kind](http, id)
    if (found < SPANS) result[kind].missed += 1
    while (found < SPANS) {
      if (performance.now() - acknowledged > LOST_MS) throw new Error(`the trace ${id} is lost`)
      found = await questions[kind](http, id)
    }
    if (found > SPANS) throw new Error(`${found} of ${SPANS} spans of the trace ${id} were found`)
    const now = performance.now()
    result[kind].sent_ms.push(now - began)
    result[kind].acknowledged_ms.push(now - acknowledged)
    await sleep(PAUSE_MS)
  }
  console.log(JSON.stringify(result))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(process.argv[2], process.argv[3], Number(process.argv[4]))
}
