/** What a view shows when it has nothing to show: each says what to do next. */

import type { ComponentChildren } from 'preact'
import { ApiError } from '../api/http'
import { type Loaded, useLoad } from '../api/load'
import { nodeInfo } from '../api/sql'
import { slowest } from '../api/under-way'
import { reload } from '../state/page'
import { Copy } from './copy'
import { formatDuration } from './format'
import { ProgressBar, stands } from './progress'

/** A bar that is there while something loads, and how far that is where it takes long. */
export function Busy({ of }: { of: { isLoading: boolean }[] }) {
  const isBusy = of.some((each) => each.isLoading)
  const slow = isBusy ? slowest() : null
  return (
    <>
      <div class={isBusy ? 'busy is-busy' : 'busy'} role="status">
        <span class="unseen">{isBusy ? 'Loading' : ''}</span>
      </div>
      {slow && (
        <div class="slow">
          <ProgressBar of={slow} />
          <span>
            {formatDuration(slow.elapsedMs * 1e6)}: {stands(slow)}
          </span>
        </div>
      )}
    </>
  )
}

export function ErrorState({ error, title }: { error: Error; title?: string }) {
  const { code, fix } =
    error instanceof ApiError ? error : { code: '', fix: 'Load again, or reload the page.' }
  return (
    <div class="state is-error" role="alert">
      <h2>{title ?? 'This could not be loaded'}</h2>
      <p>{error.message}</p>
      {fix && <p>{fix}</p>}
      <p>
        <button type="button" onClick={reload}>
          Try again
        </button>{' '}
        {code && <code>{code}</code>}
      </p>
    </div>
  )
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="state">
      <h2>{title}</h2>
      {children}
    </div>
  )
}

/** What was loaded, or why there is nothing. */
export function Shown<T>({
  of,
  title,
  children,
}: {
  of: Loaded<T>
  title?: string
  children: (data: T) => ComponentChildren
}) {
  if (of.error) return <ErrorState error={of.error} {...(title ? { title } : {})} />
  if (of.data === undefined) return <div class="state">Loading …</div>
  return <>{children(of.data)}</>
}

/** The address that this browser reaches a port at, where it listens on every address. */
function reachable(address: string | null): string {
  if (address === null) return ''
  const port = address.slice(address.lastIndexOf(':'))
  const isAny = /^(0\.0\.0\.0|\[::\]):/.test(address)
  return isAny ? `${location.hostname}${port}` : address
}

/** What sends the first data, where there is none. */
export function NoData({ what }: { what: string }) {
  const node = useLoad(nodeInfo, [])
  const endpoint = reachable(node.data?.addresses.otlpHttp ?? '127.0.0.1:4318')
  const lines = [
    'export OTEL_SERVICE_NAME=my-service OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf',
    `export OTEL_EXPORTER_OTLP_ENDPOINT=http://${endpoint}`,
    'node --import @opentelemetry/auto-instrumentations-node/register app.js',
  ].join('\n')
  return (
    <Empty title={`No ${what} yet`}>
      <p>
        Send some from any OpenTelemetry SDK or Collector; for Node.js, after{' '}
        <code>npm install @opentelemetry/auto-instrumentations-node</code>:
      </p>
      <div class="lines">
        <pre tabIndex={0}>{lines}</pre>
        <Copy text={lines} what="the three lines" />
      </div>
      <p>
        What has been acknowledged is here at once.{' '}
        <button type="button" onClick={reload}>
          Look again
        </button>
      </p>
    </Empty>
  )
}
