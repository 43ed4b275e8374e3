/**
 * Whether the node is well: each check runs every 5 s within 2 s; three failures in a row make
 * it fail, one success makes it pass again.
 */

import { readFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { connect } from 'node:net'
import { totalmem } from 'node:os'
import type { Clock } from '../base/clock.js'
import { splitAddress } from '../base/http/port.js'

export const INTERVAL_MS = 5000
export const TIMEOUT_MS = 2000
export const FAILURES = 3

export interface Check {
  readonly name: string
  /** Resolves when all is well; rejects with what is wrong. */
  run(): Promise<void>
}

export interface CheckState {
  name: string
  healthy: boolean
  failures: number
  message: string | null
}

export class Health {
  readonly #states = new Map<string, CheckState>()
  #stop: (() => void) | undefined

  constructor(
    private readonly checks: readonly Check[],
    private readonly clock: Clock,
  ) {
    for (const { name } of checks) {
      this.#states.set(name, { name, healthy: true, failures: 0, message: null })
    }
  }

  start(): void {
    this.#stop = this.clock.every(INTERVAL_MS, () => void this.round())
  }

  stop(): void {
    this.#stop?.()
  }

  /** Runs every check once. */
  async round(): Promise<void> {
    await Promise.all(this.checks.map((check) => this.#run(check)))
  }

  async #run(check: Check): Promise<void> {
    const state = this.#states.get(check.name)
    if (!state) return
    const late = this.clock.sleep(TIMEOUT_MS).then(() => {
      throw new Error(`no answer within ${TIMEOUT_MS} ms`)
    })
    try {
      await Promise.race([check.run(), late])
      Object.assign(state, { healthy: true, failures: 0, message: null })
    } catch (error) {
      state.failures++
      state.message = (error as Error).message
      if (state.failures >= FAILURES) state.healthy = false
    } finally {
      late.catch(() => undefined)
    }
  }

  get healthy(): boolean {
    return this.states().every((state) => state.healthy)
  }

  states(): CheckState[] {
    return [...this.#states.values()]
  }
}

/** The HTTP server answers. */
export function httpCheck(address: () => string | null): Check {
  return {
    name: 'http',
    async run() {
      const at = address()
      if (at === null) return
      const response = await fetch(`http://${at}/ready`, {
        signal: AbortSignal.timeout(TIMEOUT_MS),
      })
      await response.arrayBuffer()
    },
  }
}

/** A port takes connections. */
export function tcpCheck(name: string, address: () => string | null): Check {
  return {
    name: `tcp ${name}`,
    run() {
      const at = address()
      if (at === null) return Promise.resolve()
      const { host, port } = splitAddress(at)
      return new Promise((resolve, reject) => {
        const socket = connect({ host, port, timeout: TIMEOUT_MS }, () => {
          socket.destroy()
          resolve()
        })
        socket.once('error', reject)
        socket.once('timeout', () => {
          socket.destroy()
          reject(new Error(`${at} does not take connections`))
        })
      })
    },
  }
}

/** The data folder's file system has room. */
export function diskCheck(path: string, limitPercent: number): Check {
  return {
    name: 'disk',
    async run() {
      const { blocks, bavail } = await statfs(path)
      const used = blocks === 0 ? 0 : (100 * (blocks - bavail)) / blocks
      if (used > limitPercent) {
        throw new Error(`the disk is ${used.toFixed(1)}% full (limit ${limitPercent}%)`)
      }
    },
  }
}

/** The process does not take more than its share of the memory it may use. */
export function memoryCheck(limitPercent: number): Check {
  return {
    name: 'memory',
    async run() {
      const used = (100 * process.memoryUsage.rss()) / memoryLimit()
      if (used > limitPercent) {
        throw new Error(`memory is ${used.toFixed(1)}% used (limit ${limitPercent}%)`)
      }
    },
  }
}

/** The container's limit where there is one, the machine's memory otherwise; bytes. */
function memoryLimit(): number {
  try {
    const limit = Number(readFileSync('/sys/fs/cgroup/memory.max', 'utf8'))
    if (limit > 0) return Math.min(limit, totalmem())
  } catch {
    // No such control group here.
  }
  return totalmem()
}
