/** Meets the other nodes, and begins the metadata group where that is this node's to do. */

import { OtlakeError } from '../../base/errors.js'
import type { Membership } from '../../cluster/membership.js'
import { fromNodeRegisters, saysNoGroup } from '../../cluster/node-state.js'
import { MAX_SEEDS } from '../../cluster/settings.js'
import type { NativeCluster } from '../../native/cluster.js'
import type { ClusterConfig } from '../cluster-config.js'
import type { Logger } from '../node.js'
import {
  type Answer,
  type Circumstances,
  resolveSeeds,
  type Seed,
  shouldBootstrap,
  whyWaiting,
} from './bootstrap.js'
import type { PortPart } from './port.js'
import type { Round } from './reconciler.js'

export interface JoiningOptions {
  readonly config: ClusterConfig
  readonly port: PortPart
  readonly membership: Membership
  readonly native: NativeCluster
  readonly log: Logger
  readonly round: () => Round | null
  /** The group has begun. */
  readonly onBegun: () => void
  readonly onFailed: (what: string, thrown: unknown) => void
}

export class Joining {
  readonly #options: JoiningOptions
  #seeds: Seed[] = []
  #isBusy = false

  constructor(options: JoiningOptions) {
    this.#options = options
  }

  /** Asks the join list, and those that the last start knew; goes on by itself where none answers. */
  async join(known: readonly string[]): Promise<void> {
    const { config, membership, log } = this.#options
    this.#seeds = await this.#resolve()
    const own = new Set(this.#seeds.filter(({ isSelf }) => isSelf).map(({ given }) => given))
    const addresses = [...new Set([...config.join, ...known])].filter((each) => !own.has(each))
    membership.join(addresses.slice(0, MAX_SEEDS)).catch((thrown) => {
      const error = OtlakeError.from(thrown)
      log.warn({ code: error.code }, `${error.message}; it is tried again`)
    })
  }

  /** Begins the metadata group, if that is this node's to do; to be called now and then. */
  async bootstrap(): Promise<void> {
    const { native, log, round, onBegun, onFailed } = this.#options
    const group = round()?.metadata.group
    if (this.#isBusy || group === undefined || group !== '') return
    this.#isBusy = true
    try {
      // What names stand for may have changed since.
      this.#seeds = await this.#resolve()
      if (!shouldBootstrap(this.#circumstances())) return
      log.info({}, 'beginning the metadata group of a new cluster')
      await native.bootstrap()
      onBegun()
    } catch (thrown) {
      onFailed('the metadata group was not begun', thrown)
    } finally {
      this.#isBusy = false
    }
  }

  /** Why there is no group yet. */
  why(): string {
    return whyWaiting(this.#circumstances())
  }

  #resolve(): Promise<Seed[]> {
    const { config, port } = this.#options
    return resolveSeeds(config.join, { advertised: port.address, listen: config.listen })
  }

  #circumstances(): Circumstances {
    const { config, membership, round } = this.#options
    const others: Answer[] = membership
      .members()
      .filter(({ name }) => name !== membership.self.name)
      .map(({ name, address, status }) => {
        const registers = membership.registers(name)
        return {
          address,
          isPresent: status === 'alive',
          group: fromNodeRegisters(registers).group,
          saysNoGroup: saysNoGroup(registers),
        }
      })
    const group = round()?.metadata.group ?? ''
    return { bootstrap: config.bootstrap, group, seeds: this.#seeds, others }
  }
}
