/**
 * Who begins the metadata group: once in a cluster's life, and one node alone. Either the one that is
 * told to, or the first of the join list, when every other node of the list is there and says that
 * it is in no group. So all nodes may be given the same list and started in any order; and a
 * first node that lost its disk does not begin a second cluster while the others have one.
 */

import { lookup } from 'node:dns/promises'
import { networkInterfaces } from 'node:os'
import { splitAddress } from '../../base/http/port.js'
import { isWildcard } from '../cluster-config.js'

/** One entry of the join list. */
export interface Seed {
  /** As it was given. */
  readonly given: string
  /** `IP:PORT` of all that its name stands for; empty: it stands for nothing now. */
  readonly addresses: readonly string[]
  readonly isSelf: boolean
}

/** What another node says. */
export interface Answer {
  /** `HOST:PORT` that it tells others. */
  readonly address: string
  readonly isPresent: boolean
  readonly group: string
  /** It has said that it is in no group. */
  readonly saysNoGroup: boolean
}

export interface Circumstances {
  /** The node was told to begin a cluster. */
  readonly bootstrap: boolean
  /** The metadata group that the node knows, from its disk or from others. */
  readonly group: string
  readonly seeds: readonly Seed[]
  readonly others: readonly Answer[]
}

/** Whether this node begins the group now. */
export function shouldBootstrap({ bootstrap, group, seeds, others }: Circumstances): boolean {
  if (group !== '' || others.some((other) => other.isPresent && other.group !== '')) return false
  if (bootstrap) return true
  const [first, ...rest] = seeds
  if (first?.isSelf !== true) return false
  return rest.every(
    (seed) =>
      seed.isSelf ||
      others.some(
        (other) => other.isPresent && other.saysNoGroup && seed.addresses.includes(other.address),
      ),
  )
}

/** Why a node that is in no group does not begin one, for whoever waits for it. */
export function whyWaiting({ seeds, others }: Circumstances): string {
  const [first, ...rest] = seeds
  if (first?.isSelf !== true) {
    return `no metadata group yet: ${first?.given ?? 'a node'} has to begin it, or one that is started with --bootstrap`
  }
  const silent = rest.filter(
    ({ isSelf, addresses }) =>
      !isSelf && !others.some((other) => other.isPresent && addresses.includes(other.address)),
  )
  const names = silent.map(({ given }) => given).join(', ')
  return `no metadata group yet: it begins when all of the join list are there; ${names || 'they'} did not answer`
}

/** What the network says of names; a test gives its own. */
export interface Resolver {
  /** All addresses of a host; empty where it has none. */
  addresses(host: string): Promise<string[]>
  /** This machine's own addresses. */
  own(): string[]
}

export const systemResolver: Resolver = {
  async addresses(host) {
    try {
      return (await lookup(host, { all: true })).map(({ address }) => address)
    } catch {
      return []
    }
  },
  own: () =>
    Object.values(networkInterfaces())
      .flat()
      .flatMap((found) => (found ? [found.address] : [])),
}

/**
 * The join list with what its names stand for. An entry is the node itself when it names its
 * advertised address, or the one that it listens on.
 */
export async function resolveSeeds(
  given: readonly string[],
  self: { readonly advertised: string; readonly listen: string },
  resolver: Resolver = systemResolver,
): Promise<Seed[]> {
  const advertised = splitAddress(self.advertised)
  const listen = splitAddress(self.listen)
  const hosts = isWildcard(listen.host) ? resolver.own() : [listen.host]
  return Promise.all(
    given.map(async (entry) => {
      const { host, port } = splitAddress(entry)
      const found = await resolver.addresses(host)
      const isSelf = found.some(
        (address) =>
          (address === advertised.host && port === advertised.port) ||
          // Port 0 was given another one, which only others can be told.
          (hosts.includes(address) && port === (listen.port || advertised.port)),
      )
      const addresses = found.map((address) =>
        address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
      )
      return { given: entry, addresses, isSelf }
    }),
  )
}
