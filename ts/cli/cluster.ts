/** `otlake cluster` and `otlake shard`: what a cluster is, and what is to become of it. */

import type { Command } from 'commander'
import { OtlakeError } from '../base/errors.js'
import { type Control, control } from './control.js'
import { formatTable } from './table.js'
import { bold, dim } from './terminal.js'

interface Member {
  name: string
  status: string
  address: string
  addresses: Record<string, string>
  zone: string
  weight: number
  version: string
  wire: string
  load: number
  disk: number
  ready: boolean
  draining: boolean
  shards: number
  voter: boolean
  failing: string[]
}

interface Stream {
  stream: string
  owner: string
  epoch: number
  state: string
  by: string
  followers: string[]
}

interface Status {
  node: string
  cluster: string
  state: string
  group: string
  leader: string
  term: number
  voters: string[]
  members: Member[]
  streams: Stream[]
  followers: {
    name: string
    signal: string
    lag_records: number
    lag_bytes: number
    connected: boolean
  }[]
  shards_left: number
  degraded: boolean
  problems: string[]
}

interface Rule {
  attribute: string
  value: string
  nodes: string[]
}

interface Shards {
  owners: { node: string; weight: number; spans: number[]; metrics: number[]; logs: number[] }[]
  rules: Rule[]
  left: number
}

const table = (rows: Record<string, unknown>[], numbers: readonly string[] = []) =>
  formatTable(
    Object.keys(rows[0] ?? {}).map((name) => ({
      name,
      type: numbers.includes(name) ? 'Int64' : 'Utf8',
    })),
    rows,
  )
const percent = (share: number) => `${Math.round(share * 100)}%`

/** The cluster as the node sees it. */
export async function clusterStatus(node: Control): Promise<string> {
  const status = await control<Status>(node, 'ClusterStatus', {})
  const lines = [
    `${bold(status.cluster)} as ${status.node} sees it (${status.state})`,
    `group ${status.group || 'none'}, leader ${status.leader || 'none'}, term ${status.term}, voters ${status.voters.join(', ') || 'none'}`,
    '',
    memberTable(status.members),
  ]
  if (status.shards_left > 0) lines.push(dim(`${status.shards_left} shards are still to move`))
  const open = status.streams.filter(({ state }) => state !== 'sealed')
  if (open.length > 0) {
    const rows = open.map(({ stream, owner, epoch, state, by, followers }) => ({
      stream,
      owner,
      epoch,
      state: by === '' ? state : `${state} by ${by}`,
      copies: followers.join(', ') || '-',
    }))
    lines.push('', table(rows, ['epoch']))
  }
  if (status.followers.length > 0) {
    const rows = status.followers.map((follower) => ({
      follower: follower.name,
      signal: follower.signal,
      'records behind': follower.lag_records,
      'bytes behind': follower.lag_bytes,
      connected: follower.connected ? 'yes' : 'no',
    }))
    lines.push('', table(rows, ['records behind', 'bytes behind']))
  }
  if (status.degraded) lines.push('', 'fewer copies than asked for are being acknowledged')
  for (const problem of status.problems) lines.push('', `problem: ${problem}`)
  return lines.join('\n')
}

/** Its members alone. */
export async function clusterMembers(node: Control, asJson: boolean): Promise<string> {
  const { members } = await control<Status>(node, 'ClusterStatus', {})
  return asJson ? members.map((member) => JSON.stringify(member)).join('\n') : memberTable(members)
}

function memberTable(members: readonly Member[]): string {
  const rows = members.map((member) => ({
    node: member.name,
    status: member.draining ? `${member.status}, draining` : member.status,
    ready: member.ready && member.status === 'alive' ? 'yes' : 'no',
    shards: member.shards,
    voter: member.voter ? 'yes' : '-',
    zone: member.zone || '-',
    weight: member.weight,
    address: member.address,
    load: percent(member.load),
    disk: percent(member.disk),
    version: member.version,
    wire: member.wire,
    failing: member.failing.join(', ') || '-',
  }))
  return table(rows, ['shards', 'weight', 'load', 'disk'])
}

/** The control port of a member; that of the node that was asked where none is named. */
async function reach(node: Control, name: string | undefined): Promise<Control> {
  if (name === undefined) return node
  const { members } = await control<Status>(node, 'ClusterStatus', {})
  const member = members.find((each) => each.name === name)
  if (member === undefined) {
    const names = members.map((each) => each.name).join(', ')
    throw new OtlakeError('CLI_USAGE', `there is no member \`${name}\`: ${names} are`)
  }
  return { ...node, url: member.address }
}

interface Recovery {
  stream: string
  complete: boolean
  records: number
  missing_from: string[]
  error: string
}

async function recover(
  node: Control,
  target: string,
): Promise<{ text: string; isComplete: boolean }> {
  const { recoveries } = await control<{ recoveries: Recovery[] }>(node, 'ClusterRecover', {
    target,
  })
  if (recoveries.length === 0) return { text: 'there is nothing to recover', isComplete: true }
  const rows = recoveries.map(({ stream, complete, records, missing_from, error }) => ({
    stream,
    outcome: error || (complete ? 'complete' : `no answer from ${missing_from.join(', ')}`),
    records,
  }))
  return {
    text: table(rows, ['records']),
    isComplete: recoveries.every(({ complete }) => complete),
  }
}

/** Owners, weights and rules. */
export async function listShards(node: Control, asJson: boolean, latest = false): Promise<string> {
  const { owners, rules, left } = await control<Shards>(node, 'ListShards', { latest })
  if (asJson) return JSON.stringify({ owners, rules, left })
  const rows = owners.map(({ node: name, weight, spans, metrics, logs }) => ({
    node: name,
    weight,
    spans: spans.length,
    metrics: metrics.length,
    logs: logs.length,
    shards: spans.length + metrics.length + logs.length,
  }))
  const lines = [table(rows, ['weight', 'spans', 'metrics', 'logs', 'shards'])]
  if (left > 0) lines.push(dim(`${left} are still to move`))
  if (rules.length > 0) {
    const shown = rules.map(({ attribute, value, nodes }) => ({
      rule: `${attribute}=${value}`,
      nodes: nodes.join(', '),
    }))
    lines.push('', table(shown))
  }
  return lines.join('\n')
}

/** `ATTRIBUTE=VALUE` in two. Throws `CLI_USAGE`. */
function attributeOf(text: string): { attribute: string; value: string } {
  const at = text.indexOf('=')
  if (at < 1) {
    throw new OtlakeError('CLI_USAGE', `a rule is ATTRIBUTE=VALUE, not \`${text}\``)
  }
  return { attribute: text.slice(0, at), value: text.slice(at + 1) }
}

/** Adds the commands; `onControl` gives each its options for the control port. */
export function clusterCommands(
  otlake: Command,
  onControl: (command: Command) => Command,
  exit: (code: number) => void,
): void {
  const cluster = otlake.command('cluster').description('the cluster of a running node')
  const shard = otlake.command('shard').description('which node of a cluster takes what')
  const done = (text: string) => {
    console.log(text)
    exit(0)
  }

  onControl(cluster.command('status').description('members, metadata group, streams, problems'))
    .addHelpText(
      'after',
      `
Examples:
  otlake cluster status --url 10.0.0.1:4321
  otlake cluster drain node-2                  before its machine is taken down
  otlake cluster remove node-3                 it is dead and will not come back

docs/operations.md tells more.`,
    )
    .action(async (node: Control) => done(await clusterStatus(node)))
  onControl(cluster.command('members').description('the members alone'))
    .option('--json', 'a line of JSON for each', false)
    .action(async ({ json, ...node }: Control & { json: boolean }) =>
      done(await clusterMembers(node, json)),
    )
  onControl(cluster.command('drain').description('have a node give away what it has, and stay'))
    .argument('[node]', 'its name; the node at --url where none is given')
    .action(async (name: string | undefined, node: Control) => {
      await control(await reach(node, name), 'ClusterDrain', {})
      done(`${name ?? node.url} has drained: stop it when you like, or start it anew`)
    })
  onControl(cluster.command('leave').description('have a node drain, leave and end'))
    .argument('[node]', 'its name; the node at --url where none is given')
    .action(async (name: string | undefined, node: Control) => {
      await control(await reach(node, name), 'ClusterLeave', {})
      done(`${name ?? node.url} has drained and leaves`)
    })
  onControl(cluster.command('remove').description('forget a node that is dead or has left'))
    .argument('<node>', 'its name')
    .action(async (name: string, node: Control) => {
      await control(node, 'ClusterRemove', { node: name })
      done(`${name} is removed; a new start of it joins again`)
    })
  onControl(cluster.command('recover').description('recover streams without their writer now'))
    .argument('[target]', 'a stream, or a node; all where none is given', '')
    .action(async (target: string, node: Control) => {
      const { text, isComplete } = await recover(node, target)
      console.log(text)
      exit(isComplete ? 0 : 1)
    })

  onControl(shard.command('list').description('owners, weights and rules'))
    .option('--json', 'with the numbers of the shards', false)
    .option('--latest', 'wait for every change of weights and rules made at other nodes', false)
    .action(async ({ json, latest, ...node }: Control & { json: boolean; latest: boolean }) =>
      done(await listShards(node, json, latest)),
    )
  onControl(shard.command('pin').description('give what carries an attribute to some nodes'))
    .argument('<rule>', 'ATTRIBUTE=VALUE of a resource')
    .requiredOption('--nodes <names>', 'the nodes, by their names, with commas between')
    .addHelpText(
      'after',
      `
Examples:
  otlake shard pin service.name=checkout --nodes node-1,node-2
  otlake shard pin deployment.environment.name=test --nodes node-3
  otlake shard unpin service.name=checkout
  otlake shard weight node-3 0.5`,
    )
    .action(async (text: string, { nodes, ...node }: Control & { nodes: string }) => {
      const names = nodes.split(',').map((name) => name.trim())
      const rule = { ...attributeOf(text), nodes: names.filter((name) => name !== '') }
      await control(node, 'PinShards', { rule })
      done(`${text} belongs to ${rule.nodes.join(', ')}`)
    })
  onControl(shard.command('unpin').description('take such a rule back'))
    .argument('<rule>', 'ATTRIBUTE=VALUE')
    .action(async (text: string, node: Control) => {
      await control(node, 'UnpinShards', attributeOf(text))
      done(`${text} belongs to no nodes of its own any more`)
    })
  onControl(shard.command('weight').description('how much a node takes, as others take 1'))
    .argument('<node>', 'its name')
    .argument('<weight>', 'above 0 and up to 16; 0: the node’s own setting again')
    .action(async (name: string, text: string, node: Control) => {
      const weight = Number(text)
      if (text.trim() === '' || !Number.isFinite(weight)) {
        throw new OtlakeError('CLI_USAGE', `a weight is a number, not \`${text}\``)
      }
      await control(node, 'WeighNode', { node: name, weight })
      done(weight === 0 ? `${name} has its own weight again` : `${name} weighs ${weight}`)
    })
  onControl(
    shard.command('rebalance').description('move what is to move at once, without limit'),
  ).action(async (node: Control) => {
    await control(node, 'RebalanceShards', {})
    done('every node moves what is to move')
  })
}
