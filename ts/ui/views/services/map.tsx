/** The map of services: dagre lays it out; the table below it says the same in words. */

import { Graph, layout } from '@dagrejs/dagre'
import { useMemo } from 'preact/hooks'
import { useLoad } from '../../api/load'
import { colorOf } from '../../parts/colors'
import { formatCount, formatDuration, formatPercent, formatRate } from '../../parts/format'
import { Busy, Empty, Shown } from '../../parts/states'
import { linkTo, range } from '../../state/page'
import { type Edge, loadEdges, loadServices, type Named } from './queries'

const [NODE_WIDTH, NODE_HEIGHT] = [214, 58]
/** More are not drawn: nobody could read them. The table has all. */
const MOST_EDGES = 300

export default function ServiceMap() {
  const span = range.value
  const services = useLoad((signal) => loadServices(span, signal), [span.from, span.to])
  const edges = useLoad((signal) => loadEdges(span, signal), [span.from, span.to])
  const seconds = (span.to - span.from) / 1000
  return (
    <>
      <Busy of={[services, edges]} />
      <Shown of={edges} title="The map could not be made">
        {(all) => (
          <Shown of={services} title="The services could not be loaded">
            {(named) =>
              named.length === 0 ? (
                <Empty title="No spans in this range">
                  <p>Choose a longer range at the top.</p>
                </Empty>
              ) : (
                <>
                  <Drawing services={named} edges={all} seconds={seconds} />
                  <Calls edges={all} seconds={seconds} />
                </>
              )
            }
          </Shown>
        )}
      </Shown>
    </>
  )
}

interface Place {
  x: number
  y: number
}

interface Node {
  id: string
  name: string
  service: Named | undefined
  x: number
  y: number
}

function laidOut(services: Named[], edges: Edge[]) {
  const graph = new Graph()
  graph.setGraph({ rankdir: 'LR', nodesep: 24, ranksep: 90, marginx: 8, marginy: 8 })
  graph.setDefaultEdgeLabel(() => ({}))
  const byName = new Map(services.map((service) => [service.name, service]))
  const nodes = new Map<string, Omit<Node, 'x' | 'y'>>()
  const add = (name: string, isService: boolean) => {
    const id = `${isService ? 'service' : 'system'} ${name}`
    if (!nodes.has(id)) {
      nodes.set(id, { id, name, service: isService ? byName.get(name) : undefined })
      graph.setNode(id, { width: NODE_WIDTH, height: NODE_HEIGHT })
    }
    return id
  }
  for (const { name } of services) add(name, true)
  const drawn = [...edges].sort((a, b) => b.calls - a.calls).slice(0, MOST_EDGES)
  const lines = drawn.map((edge) => {
    const ends = [add(edge.source, true), add(edge.target, edge.isService)] as const
    graph.setEdge(ends[0], ends[1])
    return { edge, ends }
  })
  layout(graph)
  const placeOf = (id: string): Place => {
    const { x, y } = graph.node(id) as Place
    return { x, y }
  }
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number }
  return {
    width,
    height,
    nodes: [...nodes.values()].map((node): Node => ({ ...node, ...placeOf(node.id) })),
    lines: lines.map(({ edge, ends: [from, to] }) => {
      const { points } = graph.edge(from, to) as { points: Place[] }
      return { edge, points: anchored(placeOf(from), placeOf(to), points) }
    }),
  }
}

/** A line from the right side of one box to the left side of the other; backwards as it was laid out. */
function anchored(from: Place, to: Place, points: Place[]): Place[] {
  const [begin, end] = [from.x + NODE_WIDTH / 2, to.x - NODE_WIDTH / 2]
  if (begin >= end) return points
  // What lies between neighbours is only where dagre would put a label.
  const between = points.length > 3 ? points.slice(1, -1) : []
  return [{ x: begin, y: from.y }, ...between, { x: end, y: to.y }]
}

/** A curve through the points that leaves each of them level. */
function curve([first, ...rest]: Place[]): string {
  if (first === undefined) return ''
  let last = first
  const parts = rest.map((next) => {
    const middle = (last.x + next.x) / 2
    const part = `C${middle} ${last.y} ${middle} ${next.y} ${next.x} ${next.y}`
    last = next
    return part
  })
  return `M${first.x} ${first.y}${parts.join('')}`
}

function Drawing({
  services,
  edges,
  seconds,
}: {
  services: Named[]
  edges: Edge[]
  seconds: number
}) {
  const map = useMemo(() => laidOut(services, edges), [services, edges])
  const most = Math.max(1, ...edges.map(({ calls }) => calls))
  return (
    <section class="card wide map" aria-label="Map" tabIndex={0}>
      <svg
        width={map.width}
        height={map.height}
        viewBox={`0 0 ${map.width} ${map.height}`}
        role="group"
        aria-label="Map of services"
      >
        <title>Map of services</title>
        <defs>
          <marker
            id="arrow"
            viewBox="0 0 8 8"
            refX="7"
            refY="4"
            markerUnits="userSpaceOnUse"
            markerWidth="12"
            markerHeight="12"
            orient="auto"
          >
            <path d="M0 0 8 4 0 8z" fill="var(--edge)" />
          </marker>
        </defs>
        {map.lines.map(({ edge, points }) => (
          <g key={`${edge.source} ${edge.target} ${edge.isService}`}>
            <title>{said(edge, seconds)}</title>
            <path
              d={curve(points)}
              fill="none"
              stroke={edge.errors > 0 ? 'var(--bad)' : 'var(--edge)'}
              stroke-width={1 + 4 * Math.sqrt(edge.calls / most)}
              marker-end="url(#arrow)"
            />
            <text class="map-call" {...middle(points)}>
              {formatRate(edge.calls / seconds)}
            </text>
          </g>
        ))}
        {map.nodes.map((node) => (
          <MapNode key={node.id} node={node} seconds={seconds} />
        ))}
      </svg>
    </section>
  )
}

/** Where the label stands: half way along the line. */
function middle(points: Place[]): Place {
  const half = (points.length - 1) / 2
  const [before, after] = [points[Math.floor(half)], points[Math.ceil(half)]]
  if (!before || !after) return { x: 0, y: 0 }
  return { x: (before.x + after.x) / 2, y: (before.y + after.y) / 2 - 8 }
}

function MapNode({ node, seconds }: { node: Node; seconds: number }) {
  const { name, service, x, y } = node
  const failed = service ? service.errors / service.calls : 0
  const box = (
    <g transform={`translate(${x - NODE_WIDTH / 2} ${y - NODE_HEIGHT / 2})`}>
      <rect
        width={NODE_WIDTH}
        height={NODE_HEIGHT}
        rx="8"
        fill="var(--raised)"
        stroke={failed > 0 ? 'var(--bad)' : 'var(--edge)'}
        stroke-width={failed > 0 ? 2 : 1}
      />
      <rect width="6" height={NODE_HEIGHT} rx="3" fill={colorOf(name)} />
      <text x="14" y="22" class="map-name">
        {name.length > 22 ? `${name.slice(0, 21)}…` : name}
      </text>
      <text x="14" y="43" class="map-figures">
        {service
          ? `${formatRate(service.calls / seconds)} · ${formatPercent(failed)} · p95 ${formatDuration(service.p95 ?? Number.NaN)}`
          : 'named by its clients'}
      </text>
    </g>
  )
  if (!service) return box
  return <a href={linkTo(['services', name])}>{box}</a>
}

const said = ({ source, target, calls, errors, p95 }: Edge, seconds: number) =>
  `${source} to ${target}: ${formatRate(calls / seconds)}, ${formatPercent(errors / calls)} failed, p95 ${formatDuration(p95 ?? Number.NaN)}`

function Calls({ edges, seconds }: { edges: Edge[]; seconds: number }) {
  if (edges.length === 0) {
    return <p class="soft">No service calls another one in this range.</p>
  }
  return (
    <section class="card wide" aria-label="Calls" tabIndex={0}>
      <table class="table">
        <thead>
          <tr>
            <th>From</th>
            <th>To</th>
            <th class="num">Calls</th>
            <th class="num">Rate</th>
            <th class="num">Failed</th>
            <th class="num">p95</th>
          </tr>
        </thead>
        <tbody>
          {edges.map(({ source, target, isService, calls, errors, p95 }) => (
            <tr key={`${source} ${target} ${isService}`}>
              <td>{source}</td>
              <td>
                {target} {!isService && <span class="soft">(named by its clients)</span>}
              </td>
              <td class="num">{formatCount(calls)}</td>
              <td class="num">{formatRate(calls / seconds)}</td>
              <td class={errors > 0 ? 'num bad' : 'num'}>{formatPercent(errors / calls)}</td>
              <td class="num">{formatDuration(p95 ?? Number.NaN)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}
