/** `otlake trace`: the spans of a trace as a tree. */

import { bold, dim, red } from './terminal.js'

interface OtlpValue {
  stringValue?: string
}

interface OtlpSpan {
  traceId: string
  spanId: string
  parentSpanId?: string
  name?: string
  startTimeUnixNano?: string
  endTimeUnixNano?: string
  status?: { code?: number; message?: string }
  events?: { name?: string }[]
}

export interface OtlpTrace {
  resourceSpans?: {
    resource?: { attributes?: { key: string; value?: OtlpValue }[] }
    scopeSpans?: { spans?: OtlpSpan[] }[]
  }[]
}

interface Node {
  span: OtlpSpan
  service: string
  start: bigint
  end: bigint
  children: Node[]
}

/** The tree, one line a span, with its duration and its offset from the trace's start. */
export function formatTrace(trace: OtlpTrace): string {
  const nodes = new Map<string, Node>()
  for (const { resource, scopeSpans } of trace.resourceSpans ?? []) {
    const name = resource?.attributes?.find(({ key }) => key === 'service.name')
    for (const span of (scopeSpans ?? []).flatMap((scope) => scope.spans ?? [])) {
      nodes.set(span.spanId, {
        span,
        service: name?.value?.stringValue ?? '(no service)',
        start: BigInt(span.startTimeUnixNano ?? 0),
        end: BigInt(span.endTimeUnixNano ?? 0),
        children: [],
      })
    }
  }
  const roots: Node[] = []
  for (const node of nodes.values()) {
    const parent = nodes.get(node.span.parentSpanId ?? '')
    // A span that is its own parent, or whose parent is not stored, stands at the top.
    if (parent && parent !== node) parent.children.push(node)
    else roots.push(node)
  }
  const byStart = (a: Node, b: Node) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0)
  const first = [...nodes.values()].sort(byStart)[0]
  const lines: string[] = []
  // Without recursion: a trace can be as deep as it has spans.
  const stack = roots
    .sort(byStart)
    .reverse()
    .map((node) => ({ node, depth: 0 }))
  while (stack.length > 0) {
    const entry = stack.pop()
    if (!entry) break
    const { node, depth } = entry
    lines.push(formatSpan(node, depth, first?.start ?? 0n))
    const children = node.children.sort(byStart).reverse()
    stack.push(...children.map((child) => ({ node: child, depth: depth + 1 })))
  }
  return lines.join('\n')
}

function formatSpan({ span, service, start, end }: Node, depth: number, origin: bigint): string {
  const failed = span.status?.code === 2
  const name = failed ? red(`${span.name} ✗`) : (span.name ?? '')
  const why = failed && span.status?.message ? ` ${red(span.status.message)}` : ''
  const events = span.events?.length ? dim(` ${span.events.length} event(s)`) : ''
  const times = dim(`+${milliseconds(start - origin)}`)
  return `${'  '.repeat(depth)}${bold(service)} ${name}  ${milliseconds(end - start)} ${times}${events}${why}`
}

function milliseconds(nanos: bigint): string {
  return `${(Number(nanos) / 1e6).toFixed(2)} ms`
}
