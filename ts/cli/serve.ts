/** `otlake serve`: a node until it is told to stop. */

import { pino } from 'pino'
import type { NodeConfig } from '../node/config.js'
import { Node, ROLES } from '../node/node.js'

/** Starts a node that logs JSON to stderr. Rejects where it cannot start. */
export async function startNode(
  config: NodeConfig,
): Promise<{ node: Node; stop(): Promise<void> }> {
  const log = pino({ level: config.logLevel, base: { service: 'otlake' } }, pino.destination(2))
  const node = new Node(config, log)
  await node.start()
  log.info({ addresses: node.addresses, dataDir: config.dataDir, roles: ROLES }, 'ready')
  return {
    node,
    async stop() {
      log.info({}, 'stopping')
      await node.stop()
      log.info({}, 'stopped')
    },
  }
}

/**
 * Resolves when SIGTERM or SIGINT comes; a second one ends the process at once, because whoever
 * sends it does not want to wait.
 */
export function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let asked = false
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (asked) process.exit(130)
        asked = true
        resolve()
      })
    }
  })
}

/**
 * Runs a node to its end; the exit code. One that the others of its cluster took for dead, because it
 * stood still or was cut off for long, starts anew: with another stream, in the same process.
 */
export async function serve(config: NodeConfig): Promise<number> {
  const stopped = stopSignal()
  for (;;) {
    const { node, stop } = await startNode(config)
    const why = await Promise.race([stopped, node.ended])
    await end(config, stop)
    if (why !== 'fenced') return 0
  }
}

/** Stops a node; ends the process where that takes far too long. */
async function end(config: NodeConfig, stop: () => Promise<void>): Promise<void> {
  // What is in flight has the grace time twice: to finish, and to be written. In a cluster others
  // have as long to take over, and what was acknowledged to be written for it.
  const graces = config.cluster === null ? 3 : 6
  const overdue = setTimeout(() => process.exit(1), graces * config.graceMs)
  overdue.unref()
  await stop()
  clearTimeout(overdue)
}
