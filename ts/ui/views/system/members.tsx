/** The members of the node's cluster, as it sees them. */

import { useEffect, useState } from 'preact/hooks'
import { askJson } from '../../api/http'
import { useLoad } from '../../api/load'
import { formatPercent } from '../../parts/format'
import { Shown } from '../../parts/states'
import { every } from '../../state/clock'

const EVERY_MS = 5000

interface Member {
  name: string
  status: string
  address: string
  addresses: Record<string, string | null>
  zone: string | null
  version: string
  load: number
  disk: number
  ready: boolean
  draining: boolean
  voter: boolean
  shards: number
  failing: string[]
}

interface Cluster {
  node: string
  cluster: string
  leader: string | null
  members: Member[]
  replication: {
    followers: { name: string; signal: string; lagRecords: number; connected: boolean }[]
  } | null
  problems: string[]
}

export function Members() {
  const [round, again] = useState(0)
  useEffect(() => every(EVERY_MS, () => again((before) => before + 1)), [])
  const loaded = useLoad((signal) => askJson<Cluster>('/api/v1/cluster', { signal }), [round])
  return (
    <section class="card wide" aria-label="Members" tabIndex={0}>
      <Shown of={loaded} title="The members are not known">
        {({ node, cluster, leader, members, problems }) => (
          <>
            <h2>Members of {cluster}</h2>
            {problems.map((problem) => (
              <p key={problem} class="note">
                {problem}
              </p>
            ))}
            <table class="table">
              <thead>
                <tr>
                  <th>Member</th>
                  <th>Status</th>
                  <th>Zone</th>
                  <th>Version</th>
                  <th class="num">Shards</th>
                  <th class="num">Load</th>
                  <th class="num">Disk</th>
                  <th>Page</th>
                </tr>
              </thead>
              <tbody>
                {members.map((member) => (
                  <tr key={member.name}>
                    <th scope="row">
                      {member.name}
                      {member.name === node && ' (this one)'}
                      {member.name === leader && ' (leader)'}
                    </th>
                    <td class={member.status === 'alive' && member.ready ? 'good' : 'bad'}>
                      {member.status}
                      {member.draining ? ', draining' : member.ready ? '' : ', not ready'}
                      {member.failing?.length > 0 && `: ${member.failing.join(', ')} fail`}
                    </td>
                    <td>{member.zone}</td>
                    <td>{member.version}</td>
                    <td class="num">{member.shards}</td>
                    <td class="num">{formatPercent(member.load)}</td>
                    <td class="num">{formatPercent(member.disk)}</td>
                    <td>
                      {member.addresses.http && (
                        <a href={`http://${member.addresses.http}/`}>{member.addresses.http}</a>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </>
        )}
      </Shown>
    </section>
  )
}
