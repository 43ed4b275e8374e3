/** A trace: its waterfall, its flame graph, its logs, and another one beside it. */

import { useMemo, useState } from 'preact/hooks'
import { useLoad } from '../../api/load'
import { Copy } from '../../parts/copy'
import { formatCount, formatDuration } from '../../parts/format'
import { Busy, Empty, Shown } from '../../parts/states'
import { Tabs } from '../../parts/tabs'
import { address, linkTo, param, setParams, zone } from '../../state/page'
import { useShortcuts } from '../../state/shortcuts'
import { formatTime } from '../../state/time'
import { Compare } from './compare'
import { Details } from './details'
import { Flame } from './flame'
import { TraceLogs } from './logs'
import { nameOf, serviceOf, type Trace } from './model'
import { loadLogs, loadTrace } from './spans'
import { Waterfall } from './waterfall'

const TABS = ['waterfall', 'flame', 'logs', 'compare']

export default function TraceView() {
  const id = (address.value.path[1] ?? '').toLowerCase()
  const isId = /^[0-9a-f]{32}$/.test(id)
  const loaded = useLoad(isId ? (signal) => loadTrace(id, signal) : null, [id])
  if (!isId) {
    return (
      <Empty title="This is no trace id">
        <p>
          An id has 32 hexadecimal digits. <a href={linkTo(['traces'])}>Look for traces</a>, or
          paste an id into the query there.
        </p>
      </Empty>
    )
  }
  return (
    <>
      <Busy of={[loaded]} />
      <Shown of={loaded} title="The trace could not be loaded">
        {(trace) =>
          trace.count === 0 ? (
            <Empty title="No span of this trace is stored">
              <p>
                <code>{id}</code> was not received, was removed by retention, or is another
                tenant's. <a href={linkTo(['traces'])}>Look for others.</a>
              </p>
            </Empty>
          ) : (
            <Loaded key={id} id={id} trace={trace} />
          )
        }
      </Shown>
    </>
  )
}

function Loaded({ id, trace }: { id: string; trace: Trace }) {
  const tab = TABS.includes(param('tab')) ? param('tab') : 'waterfall'
  const logs = useLoad((signal) => loadLogs(id, signal), [id])
  const span = trace.place.get(param('span')) ?? null
  const [isWide, widen] = useState(false)
  const choose = (place: number | null) =>
    setParams({ span: place === null ? '' : (trace.ids[place] ?? '') }, { replace: true })
  useShortcuts(
    'Trace',
    TABS.map((to, index) => ({
      keys: String(index + 1),
      does: `The ${to}`,
      run: () => setParams({ tab: to }),
    })),
  )
  const services = useMemo(() => trace.services.length, [trace])
  return (
    <>
      <header class="trace-head">
        <h1>
          {serviceOf(trace, 0)}: {nameOf(trace, 0)}
        </h1>
        <p class="row">
          <span>{formatTime(Number(trace.began / 1000n) / 1000, zone.value)}</span>
          <b>{formatDuration(trace.length)}</b>
          <span>
            {formatCount(trace.count)} spans of {services} {services === 1 ? 'service' : 'services'}
          </span>
          {trace.errors > 0 && <b class="bad">{formatCount(trace.errors)} failed</b>}
          <code>{id}</code>
          <Copy text={id} what="the trace id" />
        </p>
        {(trace.orphans > 0 || trace.doubles > 0) && (
          <p class="note">
            {trace.orphans > 0 &&
              `The parents of ${formatCount(trace.orphans)} spans are not stored: they stand at the top. They may still come, or were not sampled. `}
            {trace.doubles > 0 &&
              `${formatCount(trace.doubles)} spans have an id that another one has, too: each is shown.`}
          </p>
        )}
      </header>
      <Tabs
        label="Trace"
        tabs={[
          { id: 'waterfall', name: 'Waterfall' },
          { id: 'flame', name: 'Flame graph' },
          { id: 'logs', name: logs.data ? `Logs (${logs.data.length})` : 'Logs' },
          { id: 'compare', name: 'Compare' },
        ]}
        chosen={tab}
        onChoose={(to) => setParams({ tab: to })}
      >
        {tab === 'waterfall' && (
          <div class={isWide ? 'trace-body is-wide' : 'trace-body'}>
            <Waterfall id={id} trace={trace} chosen={span} onChoose={choose} />
            {span !== null && (
              <Details
                id={id}
                trace={trace}
                place={span}
                logs={logs.data ?? []}
                onClose={() => choose(null)}
                onWiden={() => widen(!isWide)}
              />
            )}
          </div>
        )}
        {tab === 'flame' && <Flame trace={trace} />}
        {tab === 'logs' && <TraceLogs logs={logs} trace={trace} />}
        {tab === 'compare' && <Compare id={id} trace={trace} />}
      </Tabs>
    </>
  )
}
