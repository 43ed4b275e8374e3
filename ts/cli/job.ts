/** `otlake job`: runs the regular jobs of a node, and tells how they went, over its control port. */

import * as grpc from '@grpc/grpc-js'
import { OtlakeError } from '../base/errors.js'
import { controlService } from '../node/control.js'
import { formatTable } from './table.js'
import { dim } from './terminal.js'

export const DEFAULT_CONTROL = '127.0.0.1:4321'

/** Which node, and the token it wants, if any. */
export interface Control {
  url: string
  token?: string | undefined
}

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

/** Calls a node; rejects with its own error, or `NODE_UNREACHABLE`. */
async function control<Answer>(
  { url, token }: Control,
  method: string,
  request: object,
): Promise<Answer> {
  const Client = controlService()
  const address = url.replace(/^\w+:\/\//, '').replace(/\/$/, '')
  const metadata = new grpc.Metadata()
  if (token) metadata.set('authorization', `Bearer ${token}`)
  const client = new Client(address, grpc.credentials.createInsecure())
  try {
    return await new Promise<Answer>((resolve, reject) => {
      const call = client[method] as (
        request: object,
        metadata: grpc.Metadata,
        done: (error: grpc.ServiceError | null, answer: Answer) => void,
      ) => void
      call.call(client, request, metadata, (error, answer) =>
        error ? reject(error) : resolve(answer),
      )
    })
  } catch (thrown) {
    const failed = thrown as grpc.ServiceError
    const error = OtlakeError.from(new Error(failed.details, { cause: thrown }))
    if (failed.code === grpc.status.UNAVAILABLE && error.code === 'INTERNAL') {
      throw new OtlakeError('NODE_UNREACHABLE', `no node answers at ${url} (its control port)`, {
        cause: thrown,
      })
    }
    throw error
  } finally {
    client.close()
  }
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
