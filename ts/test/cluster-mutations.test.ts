/**
 * Checkers that find nothing may be blind. Each mutation is what nodes of a broken protocol would
 * send, made on the simulated network so that the product holds no switch for it; the storms' checkers
 * must find every one of them.
 */

import { expect, test } from 'vitest'
import type { MemberUpdate, Message } from '../cluster/messages.js'
import { Wire } from '../cluster/wire.js'
import type { Tamper } from '../testing/cluster/sim-network.js'
import { type StormOptions, storm } from '../testing/cluster/storm.js'

const wires = [new Wire('sim', null), new Wire('other', null)]

/** What a message becomes, whichever cluster sends it. */
function messages(change: (message: Message) => Message | null): Tamper {
  return (bytes) => {
    for (const wire of wires) {
      const message = wire.decode(bytes)
      if (typeof message === 'string') continue
      const changed = change(message)
      return changed && wire.encode(changed)
    }
    return bytes
  }
}

/** What each record becomes. */
const records = (change: (update: MemberUpdate, from: string) => MemberUpdate) =>
  messages((message) => ({
    ...message,
    members: message.members.map((update) => change(update, message.from)),
  }))

const mutations: {
  name: string
  finds: string
  within: number
  size: number
  options: Partial<StormOptions>
}[] = [
  {
    name: 'nobody refutes',
    finds: 'all know all',
    within: 20,
    size: 3,
    options: {
      tamper: records((update, from) =>
        update.name === from ? { ...update, incarnation: update.generation } : update,
      ),
    },
  },
  {
    name: 'a suspect is declared dead at once',
    finds: 'the living stay',
    within: 20,
    size: 3,
    options: {
      isMild: true,
      tamper: records((update) =>
        update.status === 'suspect' ? { ...update, status: 'dead' } : update,
      ),
    },
  },
  {
    name: 'the name of the cluster is ignored',
    finds: 'clusters stay apart',
    within: 5,
    size: 3,
    options: {
      tamper: (bytes, _, to) => {
        const message = wires.map((wire) => wire.decode(bytes)).find((m) => typeof m !== 'string')
        if (message === undefined || typeof message === 'string') return bytes
        // Every receiver takes it for its own cluster's: both are tried, by the address.
        return wires[Number(to.split(':')[1]) % 2]?.encode(message) ?? bytes
      },
    },
  },
  {
    name: 'a goodbye is not final',
    finds: 'a left member stays gone',
    within: 40,
    size: 5,
    options: {
      tamper: records((update, from) =>
        update.status !== 'left' || update.name === from
          ? update
          : { ...update, status: 'alive', incarnation: update.incarnation + 1 },
      ),
    },
  },
  {
    name: 'nobody tries the dead again',
    finds: 'all know all',
    within: 40,
    size: 3,
    options: { settings: { reconnectIntervalMs: 1e9 } },
  },
  {
    name: 'state is told once, and never compared',
    finds: 'all know the same',
    within: 40,
    size: 5,
    options: {
      tamper: messages((message) =>
        message.body.kind === 'sync' ? { ...message, states: [] } : message,
      ),
    },
  },
  {
    name: 'counters are added where they should be joined',
    finds: 'all know the same',
    within: 20,
    size: 3,
    options: {
      tamper: messages((message) => ({
        ...message,
        counters: message.counters.map((entry) => ({
          ...entry,
          added: entry.added + (message.from === entry.member ? 0 : 1),
        })),
      })),
    },
  },
]

test.each(mutations)('$name: found by "$finds"', { timeout: 120_000 }, (mutation) => {
  const { finds, within, size, options } = mutation
  for (let seed = 1; seed <= within; seed++) {
    if (storm({ seed, size, ...options }).violation?.checker === finds) return
  }
  expect.fail(`${within} seeds found nothing`)
})

test('what is changed to the same is no fault', () => {
  for (let seed = 1; seed <= 5; seed++) {
    expect(storm({ seed, size: 3, tamper: messages((message) => message) }).violation).toBeNull()
  }
})
