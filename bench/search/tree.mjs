/** A trace as a node answers it by its id, and which of its spans lie below which: slow and obvious. */

/** The spans of a trace in OTLP/JSON, each with its service. */
export function spansOf({ resourceSpans }) {
  return resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = resource.attributes.find(({ key }) => key === 'service.name')
    return scopeSpans
      .flatMap(({ spans }) => spans)
      .map((span) => ({ ...span, service: service?.value.stringValue }))
  })
}

export const durationOf = ({ startTimeUnixNano, endTimeUnixNano }) =>
  BigInt(endTimeUnixNano) - BigInt(startTimeUnixNano)

/** Of the spans that `isWanted`, those with a span above, at any distance, that `isAbove`. */
export function below(spans, isAbove, isWanted) {
  const byId = new Map(spans.map((span) => [span.spanId, span]))
  return spans.filter((span) => {
    if (!isWanted(span)) return false
    const seen = new Set([span.spanId])
    for (let at = byId.get(span.parentSpanId); at && !seen.has(at.spanId); ) {
      if (isAbove(at)) return true
      seen.add(at.spanId)
      at = byId.get(at.parentSpanId)
    }
    return false
  })
}
