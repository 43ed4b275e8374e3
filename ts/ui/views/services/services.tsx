/** Services: their rate, errors and durations, one's operations, and the map of who calls whom. */

import { useState } from 'preact/hooks'
import { useLoad } from '../../api/load'
import { quoted } from '../../api/tempo'
import { colorOf } from '../../parts/colors'
import { formatDuration, formatPercent, formatRate } from '../../parts/format'
import { lazy } from '../../parts/lazy'
import { Spark } from '../../parts/spark'
import { Busy, Empty, NoData, Shown } from '../../parts/states'
import { Tabs } from '../../parts/tabs'
import { address, linkTo, param, range, setParams } from '../../state/page'
import type { Range } from '../../state/time'
import { loadOperations, loadServices, type Named } from './queries'

const ServiceMap = lazy(() => import('./map'))
const KINDS = ['', 'internal', 'server', 'client', 'producer', 'consumer']

type Order = 'name' | 'calls' | 'errors' | 'p50' | 'p95' | 'p99'

export default function Services() {
  const service = address.value.path[1]
  if (service !== undefined) return <Operations service={service} />
  return <List />
}

function List() {
  const span = range.value
  const tab = param('tab') || 'list'
  const services = useLoad(tab === 'list' ? (signal) => loadServices(span, signal) : null, [
    span.from,
    span.to,
    tab,
  ])
  return (
    <>
      <h1>Services</h1>
      <Busy of={[services]} />
      <Tabs
        label="Services"
        tabs={[
          { id: 'list', name: 'List' },
          { id: 'map', name: 'Map' },
        ]}
        chosen={tab}
        onChoose={(id) => setParams({ tab: id })}
      >
        {tab === 'map' ? (
          <ServiceMap />
        ) : (
          <Shown of={services} title="The services could not be loaded">
            {(all) =>
              all.length === 0 ? (
                <Nothing />
              ) : (
                <Table
                  named={all}
                  span={span}
                  what="Service"
                  linkOf={({ name }) => linkTo(['services', name])}
                />
              )
            }
          </Shown>
        )}
      </Tabs>
    </>
  )
}

function Nothing() {
  return (
    <>
      <Empty title="No spans in this range">
        <p>Choose a longer range at the top.</p>
      </Empty>
      <NoData what="spans in this range" />
    </>
  )
}

function Operations({ service }: { service: string }) {
  const span = range.value
  const loaded = useLoad(
    (signal) => loadOperations(service, span, signal),
    [service, span.from, span.to],
  )
  const query = (more: string) =>
    linkTo(['traces'], { q: `{ resource.service.name = ${quoted(service)}${more} }` })
  return (
    <>
      <p>
        <a href={linkTo(['services'])}>All services</a>
      </p>
      <h1>{service}</h1>
      <p class="row">
        <a href={query('')}>Traces</a>
        <a href={query(' && status = error')}>Failed spans</a>
        <a href={linkTo(['logs'], { service })}>Logs</a>
        <a href={linkTo(['metrics'], { service })}>Metrics</a>
      </p>
      <Busy of={[loaded]} />
      <Shown of={loaded} title="The operations could not be loaded">
        {(all) =>
          all.length === 0 ? (
            <Empty title="No spans of this service in this range">
              <p>Choose a longer range at the top, or another service.</p>
            </Empty>
          ) : (
            <Table
              named={all}
              span={span}
              what="Operation"
              linkOf={({ name }) => query(` && name = ${quoted(name)}`)}
            />
          )
        }
      </Shown>
    </>
  )
}

const HEADS: [Order, string][] = [
  ['calls', 'Rate'],
  ['errors', 'Errors'],
  ['p50', 'p50'],
  ['p95', 'p95'],
  ['p99', 'p99'],
]

function Table({
  named,
  span,
  what,
  linkOf,
}: {
  named: Named[]
  span: Range
  what: string
  linkOf: (each: Named) => string
}) {
  const [text, setText] = useState('')
  const order = (param('order') || 'calls') as Order
  const seconds = (span.to - span.from) / 1000
  const value = (each: Named) =>
    order === 'errors' ? each.errors / each.calls : (each[order] ?? 0)
  const shown = named
    .filter(({ name }) => name.toLowerCase().includes(text.toLowerCase()))
    .sort((a, b) =>
      order === 'name' ? a.name.localeCompare(b.name) : Number(value(b)) - Number(value(a)),
    )
  const head = (id: Order, name: string) => (
    <th key={id} class={id === 'name' ? '' : 'num'} aria-sort={sorted(id, order)}>
      <button
        type="button"
        class="sort"
        onClick={() => setParams({ order: id }, { replace: true })}
      >
        {name}
        {order === id && ' ▾'}
      </button>
    </th>
  )
  return (
    <section class="card wide" aria-label={`${what}s`} tabIndex={0}>
      <input
        type="search"
        aria-label={`Filter ${what.toLowerCase()}s`}
        placeholder="Filter by name"
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <table class="table services">
        <thead>
          <tr>
            {head('name', what)}
            {HEADS.map(([id, name]) => head(id, name))}
          </tr>
        </thead>
        <tbody>
          {shown.map((each) => (
            <tr key={`${each.kind} ${each.name}`}>
              <th scope="row">
                <span class="mark" style={{ background: colorOf(each.name) }} />
                <a href={linkOf(each)}>{each.name}</a>{' '}
                <span class="soft">{KINDS[each.kind ?? 0]}</span>
              </th>
              <Cell
                text={formatRate(each.calls / seconds)}
                label={`Rate of ${each.name} over time`}
                values={each.series.rate}
              />
              <Cell
                text={formatPercent(each.errors / each.calls)}
                label={`Share of failed calls of ${each.name} over time`}
                values={each.series.errors}
                isBad={each.errors > 0}
              />
              {(['p50', 'p95', 'p99'] as const).map((id) => (
                <Cell
                  key={id}
                  text={formatDuration(each[id] ?? Number.NaN)}
                  label={`${id} of ${each.name} over time`}
                  values={each.series[id]}
                />
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

const sorted = (id: Order, order: Order) =>
  id !== order ? undefined : id === 'name' ? 'ascending' : 'descending'

function Cell({
  text,
  label,
  values,
  isBad = false,
}: {
  text: string
  label: string
  values: (number | null)[]
  isBad?: boolean
}) {
  return (
    <td class="num">
      <span class="figure">
        <Spark values={values} label={label} color={isBad ? 'bad' : 'accent'} />
        <b class={isBad ? 'bad' : ''}>{text}</b>
      </span>
    </td>
  )
}
