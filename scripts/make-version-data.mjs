/**
 * Makes the data folder that later versions have to open, as a node of this version leaves it when
 * it is killed: every table, small files that wait to be merged, a segment with records that are in
 * no file yet, and windows of resends. Run it when a version is released whose formats are new:
 *
 *   node scripts/make-version-data.mjs 1      ts/test/data/version-1.tar.gz
 *
 * `expected.json` beside the data folder has what was sent, and what that node answered. An archive,
 * because the files have checksums, which no checkout with other line ends may break.
 */

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const DATA = fileURLToPath(new URL('../ts/test/data', import.meta.url))
const START = 1_700_000_000_000_000_000n
const TABLES = {
  spans: 'start_time_unix_nano, span_id',
  logs: 'time_unix_nano',
  metrics_gauge: 'time_unix_nano',
  metrics_sum: 'time_unix_nano',
  metrics_histogram: 'time_unix_nano',
  metrics_exponential_histogram: 'time_unix_nano',
  metrics_summary: 'time_unix_nano',
}

const version = process.argv[2]
if (!/^\d+$/.test(version ?? '')) {
  console.error('node scripts/make-version-data.mjs VERSION')
  process.exit(2)
}

/** Attributes of every OTLP type. */
const attributes = (number) => [
  { key: 'number', value: { intValue: String(number) } },
  { key: 'large', value: { intValue: '9007199254740993' } },
  { key: 'half', value: { doubleValue: 0.5 } },
  { key: 'yes', value: { boolValue: true } },
  { key: 'text', value: { stringValue: 'für alle' } },
  { key: 'bytes', value: { bytesValue: 'AAEC' } },
  { key: 'list', value: { arrayValue: { values: [{ intValue: '1' }, { stringValue: 'a' }] } } },
  { key: 'map', value: { kvlistValue: { values: [{ key: 'k', value: { boolValue: false } }] } } },
  { key: 'empty', value: {} },
]
const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'old' } }] }
const scope = { name: 'library', version: '1.2.3' }
const at = (number) => String(START + BigInt(number) * 1_000_000n)
const hex = (number, digits) => number.toString(16).padStart(digits, '0')

const requests = {
  traces: (number) => ({
    resourceSpans: [
      {
        resource,
        scopeSpans: [
          {
            scope,
            spans: [0, 1].map((index) => ({
              traceId: hex(number + 1, 32),
              spanId: hex(10 * (number + 1) + index, 16),
              ...(index === 1 ? { parentSpanId: hex(10 * (number + 1), 16) } : {}),
              traceState: 'a=b',
              name: `operation ${number}`,
              kind: 2,
              startTimeUnixNano: at(number),
              endTimeUnixNano: at(number + 1 + index),
              attributes: attributes(number),
              events: [{ timeUnixNano: at(number), name: 'event', attributes: attributes(1) }],
              links: [{ traceId: hex(7, 32), spanId: hex(7, 16), attributes: attributes(2) }],
              status: { code: 2, message: 'refused' },
            })),
          },
        ],
      },
    ],
  }),
  logs: (number) => ({
    resourceLogs: [
      {
        resource,
        scopeLogs: [
          {
            scope,
            logRecords: [
              {
                timeUnixNano: at(number),
                severityNumber: 17,
                severityText: 'ERROR',
                body: { kvlistValue: { values: attributes(number) } },
                attributes: attributes(number),
                traceId: hex(number + 1, 32),
                spanId: hex(10 * (number + 1), 16),
              },
            ],
          },
        ],
      },
    ],
  }),
  metrics: (number) => {
    const point = { startTimeUnixNano: at(0), timeUnixNano: at(number), attributes: attributes(0) }
    return {
      resourceMetrics: [
        {
          resource,
          scopeMetrics: [
            {
              scope,
              metrics: [
                { name: 'gauge', unit: '1', gauge: { dataPoints: [{ ...point, asDouble: 1.5 }] } },
                {
                  name: 'sum',
                  sum: {
                    aggregationTemporality: 2,
                    isMonotonic: true,
                    dataPoints: [{ ...point, asInt: '9007199254740993' }],
                  },
                },
                {
                  name: 'histogram',
                  histogram: {
                    aggregationTemporality: 2,
                    dataPoints: [
                      {
                        ...point,
                        count: '3',
                        sum: 4,
                        bucketCounts: ['1', '2'],
                        explicitBounds: [1],
                      },
                    ],
                  },
                },
                {
                  name: 'exponential',
                  exponentialHistogram: {
                    aggregationTemporality: 1,
                    dataPoints: [
                      {
                        ...point,
                        count: '3',
                        scale: 2,
                        positive: { offset: 1, bucketCounts: ['3'] },
                      },
                    ],
                  },
                },
                {
                  name: 'summary',
                  summary: {
                    dataPoints: [
                      {
                        ...point,
                        count: '2',
                        sum: 3,
                        quantileValues: [{ quantile: 0.5, value: 1 }],
                      },
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
    }
  },
}

/** Starts a node on `folder`, whose rows stay live for `flush` milliseconds. */
async function start(folder, flush) {
  const any = '127.0.0.1:0'
  const settings = [
    `flush.interval_ms=${flush}`,
    'log.segment_bytes=16384',
    'jobs.schedule=off',
  ].flatMap((setting) => ['--set', setting])
  const listen = ['--otlp-grpc', 'off', '--flight', 'off', '--cluster', 'off']
  const ports = [...listen, '--otlp-http', any, '--http', any]
  const child = spawn(
    process.execPath,
    [MAIN, 'serve', '--data-dir', folder, ...ports, ...settings],
    { stdio: ['ignore', 'inherit', 'pipe'] },
  )
  for await (const line of createInterface({ input: child.stderr })) {
    const event = JSON.parse(line)
    if (event.msg !== 'ready') continue
    child.stderr.resume()
    return { child, ...event.addresses }
  }
  throw new Error('the node ended')
}

async function answer(url, body) {
  const response = await fetch(url, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(text)
  return text
}

const sent = []
async function send(node, number) {
  for (const [signal, request] of Object.entries(requests)) {
    const body = request(number)
    await answer(`http://${node.otlpHttp}/v1/${signal}`, body)
    sent.push({ signal, body })
  }
}

async function kill({ child }) {
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

const folder = mkdtempSync(join(tmpdir(), 'otlake-version-'))
try {
  let node = await start(join(folder, 'data'), 20)
  for (const number of [1, 2]) {
    await send(node, number)
    const live = async () =>
      /^otlake_live_rows\{.*\} [1-9]/m.test(await answer(`http://${node.http}/metrics`))
    while (await live()) await sleep(20)
  }
  await kill(node)
  node = await start(join(folder, 'data'), 3_600_000)
  await send(node, 3)
  const rows = {}
  for (const [table, order] of Object.entries(TABLES)) {
    const query = `SELECT * FROM ${table} ORDER BY ${order}`
    rows[table] = JSON.parse(await answer(`http://${node.http}/api/v1/sql`, { query })).rows
  }
  await kill(node)
  mkdirSync(DATA, { recursive: true })
  const name = join(DATA, `version-${version}`)
  writeFileSync(join(folder, 'expected.json'), JSON.stringify({ sent, rows }))
  const left = ['expected.json', 'data/log', 'data/tables', 'data/dedupe']
  execFileSync('tar', ['--owner=0', '--group=0', '-czf', `${name}.tar.gz`, '-C', folder, ...left])
} finally {
  rmSync(folder, { recursive: true, force: true })
}
