/** Clusters on real sockets of this machine, in real time, which drop the datagrams they send. */

import { KeyRing, Membership, openNodeTransport, systemRandom } from '../../dist/cluster/index.js'
import { summary } from './summary.mjs'

const DETECT_MS = 30_000
const SETTLE_MS = 5000
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** All clusters of one condition at once: each is idle most of the time. */
export async function real(conditions, show) {
  for (const condition of conditions) {
    const runs = Array.from({ length: condition.clusters }, () => run(condition))
    show(summary('otlake, real', condition, await Promise.all(runs)))
  }
}

async function run({ nodes: size, seconds, loss }) {
  const key = systemRandom.bytes(32)
  const nodes = []
  for (let index = 0; index < size; index++) {
    const transport = await openNodeTransport('127.0.0.1:0')
    const { send } = transport
    transport.send = (to, bytes) => {
      if (Math.random() >= loss) send.call(transport, to, bytes)
    }
    const keys = new KeyRing([key], systemRandom)
    nodes.push(new Membership({ name: `n${index}`, cluster: 'bench', transport, keys }))
    if (index > 0) await nodes[index].join([nodes[0].self.address])
  }
  await sleep(SETTLE_MS)

  const suspected = new Set()
  const declared = new Set()
  for (const node of nodes) {
    node.on('suspect', ({ name, incarnation }) => suspected.add(`${name} ${incarnation}`))
    node.on('failed', ({ name, incarnation }) => declared.add(`${name} ${incarnation}`))
  }
  const sent = () => nodes.reduce((sum, { counts }) => sum + counts.bytesSent, 0)
  const before = sent()
  await sleep(seconds * 1000)
  const bytes = sent() - before
  const suspicions = suspected.size
  const deaths = declared.size

  await sleep(Math.random() * 1000)
  const [victim, ...others] = nodes
  const times = new Map()
  const killed = performance.now()
  for (const node of others) {
    node.on('failed', ({ name }) => {
      if (name === 'n0' && !times.has(node)) times.set(node, performance.now() - killed)
    })
  }
  await victim.close()
  while (times.size < others.length && performance.now() - killed < DETECT_MS) await sleep(50)
  await Promise.all(others.map((node) => node.close()))
  const known = [...times.values()]
  return {
    suspicions,
    deaths,
    bytes,
    detectMs: Math.min(...known),
    allKnowMs: known.length === others.length ? Math.max(...known) : Number.POSITIVE_INFINITY,
  }
}
