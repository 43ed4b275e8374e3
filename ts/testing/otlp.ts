/**
 * OTLP/JSON requests and a client that sends them the way an exporter does: it keeps what was
 * acknowledged, and tries again what was not.
 */

import type { ServerProcess } from './server.js'

/** A request of `count` spans whose ids and names follow from `number`. */
export function traceRequest(service: string, number: number, count: number): unknown {
  const start = 1_700_000_000_000_000_000n + BigInt(number) * 1_000_000n
  return {
    resourceSpans: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: service } }] },
        scopeSpans: [
          {
            spans: Array.from({ length: count }, (_, index) => ({
              traceId: hex(number + 1, 32),
              spanId: hex((number + 1) * 1000 + index, 16),
              name: `request ${number}`,
              kind: 2,
              startTimeUnixNano: String(start + BigInt(index)),
              endTimeUnixNano: String(start + BigInt(index) + 1000n),
              attributes: [{ key: 'number', value: { intValue: number } }],
            })),
          },
        ],
      },
    ],
  }
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}

/** Sends one request; true when it was acknowledged. */
export async function send(
  server: ServerProcess,
  signal: string,
  request: unknown,
  headers: Record<string, string> = {},
): Promise<boolean> {
  try {
    const response = await fetch(`http://${server.addresses.otlpHttp}/v1/${signal}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(request),
    })
    await response.arrayBuffer()
    return response.ok
  } catch {
    // The connection broke: the request may or may not be stored, and nobody was told it is.
    return false
  }
}
