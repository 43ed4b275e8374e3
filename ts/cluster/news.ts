/** What a node has to tell, packed into datagrams: members first, then state, then counters. */

import { BroadcastQueue } from './broadcast.js'
import {
  type Body,
  type CounterEntry,
  counterBytes,
  entryBytes,
  type MemberUpdate,
  type Message,
  messageBytes,
  type StateEntry,
  updateBytes,
} from './messages.js'
import { PACKET_BYTES } from './settings.js'

export class News {
  readonly members = new BroadcastQueue<MemberUpdate>(({ name }) => name, updateBytes)
  readonly states = new BroadcastQueue<StateEntry>(
    ({ member, key }) => `${member} ${key}`,
    entryBytes,
  )
  readonly counters = new BroadcastQueue<CounterEntry>(
    ({ counter, member }) => `${counter} ${member}`,
    counterBytes,
  )

  constructor(private readonly cluster: string) {}

  get size(): number {
    return this.members.size + this.states.size + this.counters.size
  }

  /** A datagram with `body`, `first`, and as much news as fits; each is sent `limit` times in all. */
  pack(
    sender: { name: string; address: string },
    body: Body,
    first: readonly MemberUpdate[],
    limit: number,
  ): Message {
    const { name: from, address } = sender
    let room = PACKET_BYTES - messageBytes(from, address, body, this.cluster)
    for (const update of first) room -= updateBytes(update)
    const members = [...first, ...this.members.take(room, limit)]
    for (const update of members.slice(first.length)) room -= updateBytes(update)
    const states = this.states.take(room, limit)
    for (const entry of states) room -= entryBytes(entry)
    const counters = this.counters.take(room, limit)
    return { from, address, body, members, states, counters }
  }
}
