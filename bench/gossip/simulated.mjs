/** Clusters of 3 to 1,000 nodes on a simulated network: what no machine here could run for real. */

import { SimCluster } from '../results/gossip/testing/cluster/sim-cluster.js'
import { summary } from './summary.mjs'

/** How many clusters of a size, and for how long each is watched, in seconds. */
const SIZES = [
  { nodes: 3, clusters: 20, seconds: 300 },
  { nodes: 10, clusters: 6, seconds: 200 },
  { nodes: 100, clusters: 2, seconds: 30 },
  { nodes: 1000, clusters: 1, seconds: 10 },
]
const LOSSES = [0, 0.01, 0.05]
const HEAVY_LOSS = 0.2
/** A datagram's way takes up to this long, in milliseconds. */
const MAX_DELAY_MS = 5
const SETTLE_MS = 6000
/** How long a dead node may take to be known to all. */
const DETECT_MS = 60_000
/** One member of ten, one at least, stands still for a second in every five. */
const PAUSE_MS = 1000
const PAUSE_EVERY_MS = 5000

/** Rows of figures, one for each size and condition. `share` of the clusters and time for a quick run. */
export function simulated(share, show) {
  for (const size of SIZES) {
    const conditions = [
      ...LOSSES.map((loss) => ({ loss })),
      { loss: 0, paused: true },
      { loss: HEAVY_LOSS },
    ]
    // With many nodes this one takes longer than all others together.
    if (size.nodes <= 10) conditions.push({ loss: HEAVY_LOSS, streamProbe: false })
    for (const condition of conditions) {
      const clusters = Math.max(1, Math.round(size.clusters * share))
      const seconds = Math.max(10, Math.round(size.seconds * share))
      const runs = []
      for (let seed = 1; seed <= clusters; seed++) {
        runs.push(run({ seed, ...size, seconds, ...condition }))
      }
      show(summary('simulated', { ...size, seconds, ...condition }, runs))
    }
  }
}

function run({ seed, nodes: size, seconds, loss, paused = false, streamProbe = true }) {
  const sim = new SimCluster(seed)
  sim.settings = { streamProbe }
  const nodes = sim.bootAtOnce(size)
  sim.network.conditions = { loss, duplication: 0, minDelayMs: 0.2, maxDelayMs: MAX_DELAY_MS }
  sim.time.run(SETTLE_MS)

  const watched = watch(nodes)
  const sent = () => nodes.reduce((sum, { membership }) => sum + membership.counts.bytesSent, 0)
  const before = sent()
  const slow = paused ? nodes.slice(-Math.max(1, Math.floor(size / 10))) : []
  for (let passed = 0; passed < seconds * 1000; passed += PAUSE_EVERY_MS) {
    for (const node of slow) {
      sim.time.after(sim.random.next() * (PAUSE_EVERY_MS - PAUSE_MS), () => {
        node.pause()
        sim.time.after(PAUSE_MS, () => node.resume())
      })
    }
    sim.time.run(Math.min(PAUSE_EVERY_MS, seconds * 1000 - passed))
  }
  const bytes = sent() - before
  const { suspicions, deaths } = watched()

  sim.time.run(sim.random.next() * 1000)
  const [victim, ...others] = nodes
  const known = new Map()
  for (const { name, membership } of others) {
    membership.on('failed', (member) => {
      if (member.name === victim.name && !known.has(name)) known.set(name, sim.time.now)
    })
  }
  const crashed = sim.time.now
  victim.crash()
  sim.network.darken(victim.address)
  while (known.size < others.length && sim.time.now - crashed < DETECT_MS) sim.time.run(100)
  const times = [...known.values()].map((time) => time - crashed)
  return {
    suspicions,
    deaths,
    bytes,
    detectMs: Math.min(...times),
    allKnowMs: known.size === others.length ? Math.max(...times) : Number.POSITIVE_INFINITY,
  }
}

/** Counts the members that others suspected or declared dead, each time once, while they ran. */
function watch(nodes) {
  const suspected = new Set()
  const declared = new Set()
  for (const { membership } of nodes) {
    membership.on('suspect', ({ name, incarnation }) => suspected.add(`${name} ${incarnation}`))
    membership.on('failed', ({ name, incarnation }) => declared.add(`${name} ${incarnation}`))
  }
  return () => {
    const counted = { suspicions: suspected.size, deaths: declared.size }
    for (const { membership } of nodes) membership.removeAllListeners()
    return counted
  }
}
