/** SQL: an editor, the result as a table or a plot, downloads, the plan, and Parquet files dropped here. */

import { useEffect, useRef, useState } from 'preact/hooks'
import { rows as fetchRows, sql, sqlRequest } from '../../api/sql'
import { QueryBar } from '../../editor/query-bar'
import { formatBytes, formatCount, formatDuration } from '../../parts/format'
import { ProgressBar, stands } from '../../parts/progress'
import { ErrorState } from '../../parts/states'
import { Tabs } from '../../parts/tabs'
import { param, setParams } from '../../state/page'
import { useShortcuts } from '../../state/shortcuts'
import type { ResultRows } from './cells'
import { Chart } from './chart'
import { ResultTable } from './result'
import { MOST_ROWS, type Run, runStatement } from './run'

const loadSql = () => import('../../editor/sql').then((module) => module.openSql)

const EXAMPLES: [string, string][] = [
  [
    'slowest operations',
    `SELECT service_name, name, count(*) AS spans,
  approx_percentile_cont(duration_ns, 0.99) / 1e6 AS p99_ms
FROM spans WHERE start_time > now() - INTERVAL '1 hour'
GROUP BY 1, 2 ORDER BY 4 DESC LIMIT 20`,
  ],
  [
    'spans by the minute',
    `SELECT date_bin(INTERVAL '1 minute', start_time) AS minute, service_name, count(*) AS spans
FROM spans WHERE start_time > now() - INTERVAL '1 hour'
GROUP BY 1, 2 ORDER BY 1`,
  ],
  [
    'newest logs',
    'SELECT time, service_name, severity_text, body FROM logs ORDER BY time DESC LIMIT 100',
  ],
  [
    'tables',
    `SELECT table_name, column_name, data_type FROM information_schema.columns
WHERE table_schema = 'public'`,
  ],
]

const DOWNLOADS: [string, string, string][] = [
  ['csv', 'CSV', 'csv'],
  ['parquet', 'Parquet', 'parquet'],
  ['arrow', 'Arrow', 'arrows'],
]

export default function SqlView() {
  const query = param('sql')
  const typed = useRef(query || EXAMPLES[0]?.[1] || '')
  const [run, tell] = useState<Run | null>(null)
  const [file, setFile] = useState<{ name: string; rows: ResultRows } | null>(null)
  const [dropError, failDrop] = useState<Error | null>(null)
  const controller = useRef<AbortController | null>(null)
  const focus = useRef<() => void>(() => undefined)
  const cancel = () => controller.current?.abort()

  const start = (text: string) => {
    if (text.trim() === '') return
    cancel()
    setFile(null)
    controller.current = new AbortController()
    const mine = controller.current
    void runStatement({ query: text, parameters: [] }, mine, (next) => {
      if (mine === controller.current) tell(next)
    })
  }
  // What the address says runs when it is opened, and when one goes back to it.
  useEffect(() => {
    if (query === '') return
    typed.current = query
    start(query)
  }, [query])
  useEffect(() => cancel, [])
  const submit = (text: string) => {
    typed.current = text
    if (text === query) start(text)
    else setParams({ sql: text, x: '', y: '', by: '' })
  }
  useShortcuts('SQL', [
    { keys: '/', does: 'To the editor', run: () => focus.current() },
    { keys: 'x', does: 'Cancel the query', run: cancel },
  ])
  const drop = async (dropped: File | undefined) => {
    if (!dropped) return
    failDrop(null)
    try {
      const { readFile } = await import('./parquet')
      setFile({ name: dropped.name, rows: await readFile(dropped) })
    } catch (thrown) {
      setFile(null)
      const message = thrown instanceof Error ? thrown.message : String(thrown)
      failDrop(new Error(`${dropped.name} is no Parquet file that can be read: ${message}`))
    }
  }
  const isRunning = run?.state === 'running'
  return (
    <div
      class="sql"
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault()
        void drop(event.dataTransfer?.files[0])
      }}
    >
      <h1 class="unseen">SQL</h1>
      <QueryBar
        isLine={false}
        text={typed.current}
        label="SQL statement"
        hint="SELECT … FROM spans"
        load={loadSql}
        onRun={submit}
        onChange={(text) => {
          typed.current = text
        }}
        onReady={(put) => {
          focus.current = put
        }}
      />
      <div class="row">
        <button type="button" class="primary" onClick={() => submit(typed.current)}>
          Run <small>(Ctrl+Enter)</small>
        </button>
        <button type="button" disabled={!isRunning} onClick={cancel}>
          Cancel
        </button>
        <select
          aria-label="Examples"
          value=""
          onChange={(event) => {
            const found = EXAMPLES.find(([name]) => name === event.currentTarget.value)
            if (found) submit(found[1])
          }}
        >
          <option value="">Examples</option>
          {EXAMPLES.map(([name]) => (
            <option key={name}>{name}</option>
          ))}
        </select>
        {query !== '' && <Downloads query={query} />}
        <label class="file">
          <input
            type="file"
            accept=".parquet"
            class="unseen"
            onChange={(event) => void drop(event.currentTarget.files?.[0])}
          />
          <span>Open a Parquet file, or drop one here</span>
        </label>
      </div>
      {dropError && <ErrorState error={dropError} title="The file could not be read" />}
      {file ? (
        <section aria-label="File">
          <p class="row">
            <b>{file.name}</b>
            <span>
              {formatCount(file.rows.count)} rows, {formatBytes(file.rows.bytes)}; read here, sent
              nowhere.
            </span>
            <button type="button" onClick={() => setFile(null)}>
              Close the file
            </button>
          </p>
          <ResultTable rows={file.rows} count={file.rows.count} />
        </section>
      ) : (
        run && <Result run={run} query={query} />
      )}
    </div>
  )
}

function Result({ run, query }: { run: Run; query: string }) {
  const tab = param('tab') || 'table'
  return (
    <>
      <Progress run={run} />
      {run.error ? (
        <ErrorState error={run.error} title="The statement failed" />
      ) : (
        <Tabs
          label="Result"
          tabs={[
            { id: 'table', name: 'Table' },
            { id: 'plot', name: 'Plot' },
            { id: 'plan', name: 'Plan' },
          ]}
          chosen={tab}
          onChoose={(to) => setParams({ tab: to }, { replace: true })}
        >
          {tab === 'plan' ? (
            <Plan key={query} query={query} />
          ) : tab === 'plot' && run.count > 0 ? (
            <Chart rows={run.rows} count={run.count} />
          ) : run.state === 'running' && run.count === 0 ? (
            <div class="state">Waiting for the first rows …</div>
          ) : (
            <ResultTable rows={run.rows} count={run.count} />
          )}
        </Tabs>
      )}
    </>
  )
}

const SAID: Record<Run['state'], string> = {
  running: 'Running',
  done: 'Done',
  cancelled: 'Cancelled: the node has ended the query',
  cut: `The page holds no more than ${formatCount(MOST_ROWS)} rows or 256 MiB: these are the first. A download has all of them`,
  failed: 'Failed',
}

function Progress({ run }: { run: Run }) {
  const { state, count, bytes, elapsedMs, progress } = run
  const isRunning = state === 'running'
  return (
    <div class="row" role="status" aria-live={isRunning ? 'off' : 'polite'}>
      <span class={isRunning ? 'running' : ''}>
        <b>{SAID[state]}</b>: {formatCount(count)} rows, {formatBytes(bytes)},{' '}
        {formatDuration(elapsedMs * 1e6)}
      </span>
      {isRunning && progress && (
        <span class="row">
          <ProgressBar of={progress} />
          <span>{stands(progress)}</span>
        </span>
      )}
    </div>
  )
}

/** The plan of the statement; with its figures, it is run for them. */
function Plan({ query }: { query: string }) {
  const [plan, setPlan] = useState<string | null>(null)
  const [error, fail] = useState<Error | null>(null)
  const [isMeasured, measure] = useState(false)
  useEffect(() => {
    const controller = new AbortController()
    setPlan(null)
    fail(null)
    const explain = isMeasured ? 'EXPLAIN ANALYZE' : 'EXPLAIN'
    fetchRows<{ plan_type: string; plan: string }>(
      { ...sql``, query: `${explain} ${query}` },
      controller.signal,
    ).then(
      (rows) =>
        setPlan(rows.map(({ plan_type, plan: text }) => `${plan_type}\n${text}`).join('\n')),
      (thrown: Error) => controller.signal.aborted || fail(thrown),
    )
    return () => controller.abort()
  }, [query, isMeasured])
  return (
    <>
      <label class="row">
        <span>
          <input
            type="checkbox"
            checked={isMeasured}
            onChange={(event) => measure(event.currentTarget.checked)}
          />{' '}
          With rows and times of each step: the statement is run for them
        </span>
      </label>
      {error ? (
        <ErrorState error={error} title="There is no plan of this statement" />
      ) : (
        <pre class="text" tabIndex={0}>
          {plan ?? 'Loading …'}
        </pre>
      )}
    </>
  )
}

function Downloads({ query }: { query: string }) {
  const [busy, setBusy] = useState('')
  const [error, fail] = useState<Error | null>(null)
  const download = async (format: string, ending: string) => {
    setBusy(format)
    fail(null)
    try {
      const response = await sqlRequest({ query, parameters: [] }, format)
      save(await response.blob(), `otlake.${ending}`)
    } catch (thrown) {
      fail(thrown instanceof Error ? thrown : new Error(String(thrown)))
    } finally {
      setBusy('')
    }
  }
  return (
    <>
      <span role="group" aria-label="Download" class="row">
        {DOWNLOADS.map(([format, name, ending]) => (
          <button
            key={format}
            type="button"
            disabled={busy !== ''}
            onClick={() => void download(format, ending)}
          >
            {busy === format ? `${name} …` : `↓ ${name}`}
          </button>
        ))}
      </span>
      {error && (
        <span role="alert" class="bad">
          {error.message}
        </span>
      )}
    </>
  )
}

function save(blob: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  URL.revokeObjectURL(link.href)
}
