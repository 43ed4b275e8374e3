/** The logs of a trace. */

import type { Loaded } from '../../api/load'
import { colorOf } from '../../parts/colors'
import { formatDuration } from '../../parts/format'
import { Empty, Shown } from '../../parts/states'
import { VirtualRows } from '../../parts/virtual-rows'
import { setParams } from '../../state/page'
import { severityBand } from '../logs/severity'
import type { Trace } from './model'
import { MOST_LOGS, type TraceLog } from './spans'

const ROW = 30

export function TraceLogs({ logs, trace }: { logs: Loaded<TraceLog[]>; trace: Trace }) {
  return (
    <Shown of={logs} title="The logs could not be loaded">
      {(all) =>
        all.length === 0 ? (
          <Empty title="No log record names this trace">
            <p>
              Log through an OpenTelemetry appender of your language while a span is active: its
              records carry the ids of trace and span.
            </p>
          </Empty>
        ) : (
          <>
            {all.length === MOST_LOGS && (
              <p class="note">These are its first {MOST_LOGS} records; SQL gives all of them.</p>
            )}
            <VirtualRows
              class="card log-rows"
              role="list"
              label={`${all.length} log records`}
              count={all.length}
              rowHeight={ROW}
              row={(index) => {
                const log = all[index]
                return log && <LogLine key={index} log={log} began={trace.began} hasLink />
              }}
            />
          </>
        )
      }
    </Shown>
  )
}

export function LogLine({
  log,
  began,
  hasLink = false,
}: {
  log: TraceLog
  began: bigint
  hasLink?: boolean
}) {
  const band = severityBand(log.severity_number)
  return (
    <div
      role={hasLink ? 'listitem' : undefined}
      class={`log-line is-${band}`}
      style={{ height: `${ROW}px` }}
    >
      <span class="soft num">{formatDuration(Number(BigInt(log.at) - began))}</span>
      <b class="band">{log.severity || band}</b>
      <span class="mark" style={{ background: colorOf(log.service_name) }} />
      <span class="soft">{log.service_name}</span>
      <span class="log-body" title={log.body ?? ''}>
        {log.body}
      </span>
      {hasLink && log.span_id && (
        <button
          type="button"
          class="plain"
          onClick={() => setParams({ tab: 'waterfall', span: log.span_id ?? '' })}
        >
          span
        </button>
      )}
    </div>
  )
}
