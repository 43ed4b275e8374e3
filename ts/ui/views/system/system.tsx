/** The node itself: what it takes, how fast it acknowledges, what it holds, and who its members are. */

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { type Exposition, parseExposition, ranking, total } from '../../api/exposition'
import { apiUrl, ask, isReachable } from '../../api/http'
import { useLoad } from '../../api/load'
import { type NodeInfo, nodeInfo } from '../../api/sql'
import { formatBytes, formatCount } from '../../parts/format'
import { ErrorState } from '../../parts/states'
import { every } from '../../state/clock'
import { Members } from './members'
import { loadPast, type Past, withMore } from './past'
import { Plots } from './plots'

const EVERY_MS = 2000

/** Where the node listens, as people call it. */
const PORTS: [keyof NodeInfo['addresses'], string][] = [
  ['otlpGrpc', 'OTLP/gRPC'],
  ['otlpHttp', 'OTLP/HTTP'],
  ['http', 'HTTP'],
  ['flight', 'Flight SQL'],
  ['cluster', 'Cluster'],
]

interface Health {
  status: string
  state: string
  checks: { name: string; healthy: boolean; message: string | null }[]
}

/** Checks that fail are an answer, too: 503. */
const readHealth = async () => (await (await fetch(apiUrl('/health'))).json()) as Health

export default function System() {
  const node = useLoad(nodeInfo, [])
  const past = usePast()
  const [metrics, setMetrics] = useState<Exposition | null>(null)
  const [health, setHealth] = useState<Health | null>(null)
  const [error, fail] = useState<Error | null>(null)
  useEffect(() => {
    const read = async () => {
      if (!isReachable.peek() || document.hidden) return
      try {
        const text = await (await ask('/metrics')).text()
        setMetrics(parseExposition(text))
        fail(null)
        setHealth(await readHealth())
      } catch (thrown) {
        fail(thrown instanceof Error ? thrown : new Error(String(thrown)))
      }
    }
    void read()
    return every(EVERY_MS, () => void read())
  }, [])
  const plots = useMemo(() => past && <Plots past={past} />, [past])
  return (
    <>
      <h1>System</h1>
      {node.data && (
        <p class="row">
          <span>otlake {node.data.version}</span>
          {PORTS.map(([port, name]) => (
            <span key={port} class="chip">
              {name} <code>{node.data?.addresses[port] ?? 'off'}</code>
            </span>
          ))}
        </p>
      )}
      {error && metrics === null && <ErrorState error={error} />}
      {metrics && <Problems metrics={metrics} health={health} />}
      {plots}
      {metrics && (
        <>
          <div class="cards">
            <Rejections metrics={metrics} />
            <Held metrics={metrics} />
            <Jobs metrics={metrics} />
          </div>
          <Tables metrics={metrics} />
        </>
      )}
      {node.data?.cluster && <Members />}
    </>
  )
}

/** The node's last hour, which grows while the view is seen; null before it is there. */
function usePast(): Past | null {
  const [past, setPast] = useState<Past | null>(null)
  const known = useRef<Past | null>(null)
  useEffect(() => {
    let [isAsking, isGone] = [false, false]
    const load = async () => {
      if (isAsking || !isReachable.peek() || document.hidden) return
      isAsking = true
      try {
        const more = await loadPast(known.current)
        if (isGone) return
        known.current = withMore(known.current, more)
        setPast(known.current)
      } catch {
        // The rest of the view tells that the node does not answer.
      } finally {
        isAsking = false
      }
    }
    void load()
    const stop = every(EVERY_MS, () => void load())
    return () => {
      isGone = true
      stop()
    }
  }, [])
  return past
}

function Problems({ metrics, health }: { metrics: Exposition; health: Health | null }) {
  const broken = ranking(metrics, 'otlake_invariant_violations_total', 'invariant')
  const corrupt = ranking(metrics, 'otlake_corruption_detected_total', 'kind')
  const isWell = health?.status === 'ok' && broken.length === 0 && corrupt.length === 0
  return (
    <p class={isWell ? 'row' : 'note'} role="status">
      {isWell && <b class="good">Well: every check passes, no invariant is broken.</b>}
      {health && health.status !== 'ok' && `A health check fails: ${failing(health)}. `}
      {broken.map(([id, count]) => `Invariant ${id} was broken ${count} times: report it. `)}
      {corrupt.map(([kind, count]) => `Damaged ${kind}: ${count} times found, not served. `)}
    </p>
  )
}

function failing({ checks }: Health): string {
  return checks
    .filter(({ healthy }) => !healthy)
    .map(({ name, message }) => `${name}${message ? ` (${message})` : ''}`)
    .join(', ')
}

function Rejections({ metrics }: { metrics: Exposition }) {
  const lists: [string, [string, number][]][] = [
    ['Records rejected', ranking(metrics, 'otlake_records_rejected_total', 'reason')],
    ['Requests refused', ranking(metrics, 'otlake_requests_refused_total', 'code')],
    ['Records changed', ranking(metrics, 'otlake_records_changed_total', 'reason')],
    ['Records that look wrong', ranking(metrics, 'otlake_records_flagged_total', 'reason')],
  ]
  return (
    <section class="card" aria-label="Rejections">
      <h2>Rejections by reason</h2>
      {lists.every(([, reasons]) => reasons.length === 0) && (
        <p class="soft">None since the node started.</p>
      )}
      {lists.map(
        ([title, reasons]) =>
          reasons.length > 0 && (
            <div key={title}>
              <h3>{title}</h3>
              <dl class="facts">
                {reasons.map(([reason, count]) => (
                  <>
                    <dt>{reason}</dt>
                    <dd class="num">{formatCount(count)}</dd>
                  </>
                ))}
              </dl>
            </div>
          ),
      )}
    </section>
  )
}

function Held({ metrics }: { metrics: Exposition }) {
  const of = (name: string) => total(metrics, name)
  const facts: [string, string][] = [
    [
      'Live batches',
      `${formatCount(of('otlake_live_rows'))} rows, ${formatBytes(of('otlake_live_bytes'))}`,
    ],
    [
      'Log',
      `${formatBytes(of('otlake_log_size_bytes'))} in ${formatCount(of('otlake_log_segments'))} segments`,
    ],
    [
      'Files',
      `${formatCount(of('otlake_table_files'))}, ${formatBytes(of('otlake_table_size_bytes'))}`,
    ],
    ['Rows in files', formatCount(of('otlake_table_rows'))],
    ['Memory of the process', formatBytes(of('process_resident_memory_bytes'))],
    ['Requests in memory', formatBytes(of('otlake_receive_bytes'))],
    ['Connections', formatCount(of('otlake_connections'))],
    [
      'Queries that run, that wait',
      `${of('otlake_queries_running')}, ${of('otlake_queries_waiting')}`,
    ],
  ]
  return <Facts title="Disk and memory" facts={facts} />
}

function Jobs({ metrics }: { metrics: Exposition }) {
  const of = (name: string, labels: Record<string, string> = {}) => total(metrics, name, labels)
  const runs = (outcome: string) => formatCount(of('otlake_job_runs_total', { outcome }))
  const facts: [string, string][] = [
    [
      'Flushes',
      `${formatCount(of('otlake_flushes_total'))}, ${formatCount(of('otlake_flush_failures_total'))} failed`,
    ],
    ['Job runs', `${runs('ok')}, ${runs('failed')} failed`],
    ['Running now', of('otlake_job_running') > 0 ? 'yes' : 'no'],
    [
      'Merged files',
      `${formatCount(of('otlake_compacted_files_in_total'))} to ${formatCount(of('otlake_compacted_files_out_total'))}`,
    ],
    ['Duplicates removed', formatCount(of('otlake_duplicates_removed_total'))],
    ['Rows expired', formatCount(of('otlake_rows_expired_total'))],
    ['Deleted from disk', formatBytes(of('otlake_vacuumed_bytes_total'))],
  ]
  return <Facts title="Flushes and compaction" facts={facts} />
}

function Facts({ title, facts }: { title: string; facts: [string, string][] }) {
  return (
    <section class="card" aria-label={title}>
      <h2>{title}</h2>
      <dl class="facts">
        {facts.map(([name, value]) => (
          <>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </>
        ))}
      </dl>
    </section>
  )
}

function Tables({ metrics }: { metrics: Exposition }) {
  const names = [
    ...new Set((metrics.get('otlake_table_files') ?? []).map(({ labels }) => labels.table ?? '')),
  ]
  const of = (name: string, table: string) => total(metrics, name, { table })
  return (
    <section class="card wide" aria-label="Tables" tabIndex={0}>
      <h2>Tables</h2>
      <table class="table">
        <thead>
          <tr>
            <th>Table</th>
            <th class="num">Files</th>
            <th class="num">Bytes</th>
            <th class="num">Rows in files</th>
            <th class="num">Flushes</th>
            <th class="num">Merged files</th>
          </tr>
        </thead>
        <tbody>
          {names.map((table) => (
            <tr key={table}>
              <th scope="row">{table}</th>
              <td class="num">{formatCount(of('otlake_table_files', table))}</td>
              <td class="num">{formatBytes(of('otlake_table_size_bytes', table))}</td>
              <td class="num">{formatCount(of('otlake_table_rows', table))}</td>
              <td class="num">{formatCount(of('otlake_flushes_total', table))}</td>
              <td class="num">{formatCount(of('otlake_compacted_files_in_total', table))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}
