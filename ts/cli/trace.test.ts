import { expect, test } from 'vitest'
import { formatTrace, type OtlpTrace } from './trace.js'

const span = (spanId: string, parentSpanId: string, start: number, end: number) => ({
  traceId: 't',
  spanId,
  parentSpanId,
  name: spanId,
  startTimeUnixNano: String(start * 1e6),
  endTimeUnixNano: String(end * 1e6),
})

test('spans stand below their parents, in the order of their start', () => {
  const trace: OtlpTrace = {
    resourceSpans: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] },
        scopeSpans: [
          {
            spans: [
              span('late', 'root', 30, 40),
              span('root', '', 10, 50),
              { ...span('early', 'root', 20, 25), status: { code: 2, message: 'no stock' } },
              span('leaf', 'early', 21, 22),
              span('orphan', 'missing', 60, 61),
            ],
          },
        ],
      },
    ],
  }
  expect(formatTrace(trace).split('\n')).toEqual([
    'shop root  40.00 ms +0.00 ms',
    '  shop early ✗  5.00 ms +10.00 ms no stock',
    '    shop leaf  1.00 ms +11.00 ms',
    '  shop late  10.00 ms +20.00 ms',
    'shop orphan  1.00 ms +50.00 ms',
  ])
})
