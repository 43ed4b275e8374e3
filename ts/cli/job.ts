/** `otlake job`: runs the regular jobs of a node, and tells how they went, over its control port. */

import { type Control, control } from './control.js'
import { formatTable } from './table.js'
import { dim } from './terminal.js'

interface Work {
  table: string
  files_in: number
  bytes_in: number
  files_out: number
  bytes_out: number
  duplicates: number
  rows_expired: number
  log_files: number
}

interface State {
  job: string
  schedule: string
  due_unix_ms: number
  running: boolean
  last_unix_ms: number
  last_duration_ms: number
  last_outcome: string
  last_message: string
}

/** Runs a job and tells what it did. */
export async function runJob(node: Control, job: string): Promise<string> {
  const answer = await control<{ duration_ms: number; tables: Work[] }>(node, 'RunJob', { job })
  const seconds = `${(answer.duration_ms / 1000).toFixed(1)} s`
  const rows = answer.tables
    .filter((work) => work.files_in > 0 || work.log_files > 0)
    .map((work) => shown(job, work))
  if (rows.length === 0) return `${job}: nothing to do ${dim(`(${seconds})`)}`
  const columns = Object.keys(rows[0] ?? {}).map((name) => ({
    name,
    type: name === 'table' ? 'Utf8' : 'Int64',
  }))
  return `${formatTable(columns, rows)}\n${dim(`${job}: done in ${seconds}`)}`
}

/** The figures that a job has. */
function shown(job: string, work: Work): Record<string, unknown> {
  const { table, files_in: files, bytes_in: bytes } = work
  if (job === 'retain') return { table, files, bytes, rows: work.rows_expired }
  if (job === 'vacuum') return { table, files, bytes, 'log files': work.log_files }
  return {
    table,
    'files before': files,
    'files after': work.files_out,
    'bytes before': bytes,
    'bytes after': work.bytes_out,
    duplicates: work.duplicates,
  }
}

/** Every job with when it is due and how its last run went. */
export async function listJobs(node: Control): Promise<string> {
  const { jobs } = await control<{ jobs: State[] }>(node, 'ListJobs', {})
  const names = ['job', 'schedule', 'next', 'last', 'took', 'outcome']
  const rows = jobs.map((state) => ({
    job: state.job,
    schedule: state.schedule || 'off',
    next: state.running ? 'running' : time(state.due_unix_ms),
    last: time(state.last_unix_ms),
    took: state.last_unix_ms === 0 ? '-' : `${(state.last_duration_ms / 1000).toFixed(1)} s`,
    outcome: [state.last_outcome || '-', state.last_message].filter(Boolean).join(': '),
  }))
  return formatTable(
    names.map((name) => ({ name, type: 'Utf8' })),
    rows,
  )
}

function time(unixMs: number): string {
  return unixMs === 0 ? '-' : new Date(unixMs).toISOString()
}
