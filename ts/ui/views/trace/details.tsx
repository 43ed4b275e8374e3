/** All that is stored of a span. */

import { useLoad } from '../../api/load'
import { quoted } from '../../api/tempo'
import { type Attribute, Attributes, readAttributes } from '../../parts/attributes'
import { Copy } from '../../parts/copy'
import { formatDuration } from '../../parts/format'
import { Shown } from '../../parts/states'
import { linkTo, zone } from '../../state/page'
import { formatTime } from '../../state/time'
import { selfTime } from './flame-layout'
import { LogLine } from './logs'
import { at, nameOf, serviceOf, type Trace } from './model'
import { loadSpan, type SpanRow, type TraceLog } from './spans'

const KINDS = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer']
const STATUSES = ['unset', 'ok', 'error']

export function Details({
  id,
  trace,
  place,
  logs,
  onClose,
  onWiden,
}: {
  id: string
  trace: Trace
  place: number
  logs: TraceLog[]
  onClose: () => void
  onWiden: () => void
}) {
  const span = trace.ids[place] ?? ''
  const loaded = useLoad((signal) => loadSpan(id, span, signal), [id, span])
  const own = logs.filter(({ span_id }) => span_id === span)
  return (
    <aside class="card details" aria-label="Span">
      <header class="row">
        <h2 class="grow">
          {serviceOf(trace, place)}: {nameOf(trace, place)}
        </h2>
        <button type="button" aria-label="Wider or narrower" onClick={onWiden}>
          ↔
        </button>
        <button type="button" aria-label="Close the span" onClick={onClose}>
          ×
        </button>
      </header>
      <p class="row">
        <b>{formatDuration(at(trace.duration, place))}</b>
        <span>{formatDuration(selfTime(trace, place))} its own</span>
        <span>begins at {formatDuration(at(trace.start, place))}</span>
      </p>
      <p class="row">
        <code>{span}</code> <Copy text={span} what="the span id" />
        <Copy text={location.href} what="the link to this span" label="Copy link" />
      </p>
      <Shown of={loaded} title="The span could not be loaded">
        {(rows) => rows.map((row, index) => <Stored key={index} row={row} trace={trace} />)}
      </Shown>
      {own.length > 0 && (
        <section>
          <h3>Logs</h3>
          {own.map((log, index) => (
            <LogLine key={index} log={log} began={trace.began} />
          ))}
        </section>
      )}
    </aside>
  )
}

function Stored({ row, trace }: { row: SpanRow; trace: Trace }) {
  const find = (scope: string) => (attribute: Attribute) =>
    linkTo(['traces'], { q: `{ ${scope}.${keyOf(attribute.key)} = ${literal(attribute)} }` })
  const status = STATUSES[row.status_code] ?? String(row.status_code)
  return (
    <>
      <dl class="facts">
        <dt>Status</dt>
        <dd class={row.status_code === 2 ? 'bad' : ''}>
          {status}
          {row.status_message && `: ${row.status_message}`}
        </dd>
        <dt>Kind</dt>
        <dd>{KINDS[row.kind] ?? row.kind}</dd>
        <dt>Began</dt>
        <dd>{formatTime(Number(row.start_time_unix_nano) / 1e6, zone.value)}</dd>
        {row.scope_name && (
          <>
            <dt>Scope</dt>
            <dd>
              {row.scope_name} {row.scope_version}
            </dd>
          </>
        )}
      </dl>
      <Attributes title="Attributes" json={row.attributes} linkOf={find('span')} />
      <Events row={row} trace={trace} />
      <Links row={row} />
      <Attributes title="Resource" json={row.resource_attributes} linkOf={find('resource')} />
      <Attributes title="Scope" json={row.scope_attributes} />
      {row.dropped_attributes_count + row.dropped_events_count + row.dropped_links_count > 0 && (
        <p class="note">
          The sender dropped {row.dropped_attributes_count} attributes, {row.dropped_events_count}{' '}
          events and {row.dropped_links_count} links.
        </p>
      )}
      <p>
        <Copy text={JSON.stringify(row, null, 2)} what="the span as JSON" label="Copy as JSON" />
      </p>
    </>
  )
}

function Events({ row, trace }: { row: SpanRow; trace: Trace }) {
  if (!row.events?.length) return null
  return (
    <section>
      <h3>Events</h3>
      {row.events.map((event, index) => (
        <details key={index} class="event-line">
          <summary>
            <span class="soft">
              {formatDuration(Number(BigInt(event.time_unix_nano) - trace.began))}
            </span>{' '}
            {event.name}
          </summary>
          {readAttributes(event.attributes).map(({ key, text }) => (
            <div key={key}>
              <b>{key}</b>
              <pre class="text">{text}</pre>
            </div>
          ))}
        </details>
      ))}
    </section>
  )
}

function Links({ row }: { row: SpanRow }) {
  if (!row.links?.length) return null
  return (
    <section>
      <h3>Links</h3>
      {row.links.map(({ trace_id, span_id, attributes }, index) => (
        <div key={index}>
          <a href={linkTo(['trace', trace_id], { span: span_id })}>
            <code>
              {trace_id} {span_id}
            </code>
          </a>
          <Attributes title="Attributes of the link" json={attributes} />
        </div>
      ))}
    </section>
  )
}

const keyOf = (key: string) => (/^[\w.:/-]+$/.test(key) ? key : quoted(key))

function literal({ value, text }: Attribute): string {
  return typeof value === 'number' || typeof value === 'boolean' ? text : quoted(text)
}
