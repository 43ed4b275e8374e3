/**
 * Writes proto/otlake/v1/ring-vectors.json from ts/cluster/ring.ts: examples of placement that an
 * implementation in another language has to meet. They change only when placement does, which moves
 * data in every cluster. Needs `npm run build:ts`.
 */

import { writeFileSync } from 'node:fs'
import { Ring, shardOf } from '../dist/cluster/ring.js'

const clusters = [
  [
    { name: 'a', zone: '', weight: 1 },
    { name: 'b', zone: '', weight: 1 },
    { name: 'c', zone: '', weight: 1 },
  ],
  [
    { name: 'node-1', zone: 'east', weight: 1 },
    { name: 'node-2', zone: 'east', weight: 2 },
    { name: 'node-3', zone: 'west', weight: 0.5 },
    { name: 'node-4', zone: 'west', weight: 1 },
    { name: 'nœud-5', zone: 'nord', weight: 16 },
  ],
]
const shards = ['spans', 'metrics', 'logs'].flatMap((signal) =>
  [0, 1, 17, 199].map((number) => ({ signal, number })),
)
const placements = clusters.map((nodes) => {
  const ring = new Ring(nodes)
  return {
    nodes,
    shards: shards.map((shard) => ({ ...shard, replicas: ring.replicas(shard, 3) })),
  }
})
// Of every length that the hash treats in its own way.
const keys = [
  '',
  '00',
  '5b8efff7',
  '5b8efff798038103',
  '5b8efff798038103d269b633813fc60c',
  'ff'.repeat(40),
  '0123456789abcdef'.repeat(17),
].flatMap((key) =>
  ['spans', 'metrics', 'logs'].map((signal) => ({
    key,
    ...shardOf(signal, Buffer.from(key, 'hex')),
  })),
)
const file = new URL('../proto/otlake/v1/ring-vectors.json', import.meta.url)
writeFileSync(file, `${JSON.stringify({ keys, placements }, null, 2)}\n`)
