/** Whole nodes in one process on real sockets, with an engine and a native side in memory. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../base/clock.js'
import { loadConfig, type Raw } from '../../node/config.js'
import { type Logger, Node } from '../../node/node.js'
import { FakeEngine } from '../fake-engine.js'
import { FakeGroup, type FakeNative } from './fake-native.js'

const SILENT: Logger = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
}

export class FakeNodes {
  readonly group = new FakeGroup()
  readonly nodes = new Map<string, Node>()
  readonly engines = new Map<string, FakeEngine>()
  /** One folder for all: nodes that are started at once ask for it at once. */
  #root: Promise<string> | null = null

  /**
   * Starts a node `name` on 127.0.0.`index`. The ports of the cluster are the same for all; the
   * others are any that are free, or off.
   */
  async start(name: string, index: number, settings: Raw = {}): Promise<Node> {
    this.#root ??= mkdtemp(join(tmpdir(), 'otlake-nodes-'))
    const root = await this.#root
    const host = `127.0.0.${index}`
    const engine = new FakeEngine()
    const config = loadConfig({
      flags: {
        data_dir: join(root, name),
        'storage.tables': join(root, 'tables'),
        'listen.otlp_grpc': 'off',
        'listen.otlp_http': 'off',
        'listen.flight': 'off',
        'listen.http': `${host}:0`,
        'listen.cluster': `${host}:${CLUSTER_PORT}`,
        'listen.peer': `${host}:0`,
        'http.adapter': 'node',
        'cluster.node': name,
        'jobs.schedule': 'off',
        'cluster.rebalance.shards': 500,
        grace_ms: 3000,
        ...settings,
      },
    })
    const node = new Node(config, SILENT, systemClock, {
      openEngine: async () => engine,
      startCluster: this.group.start,
    })
    this.nodes.set(name, node)
    this.engines.set(name, engine)
    await node.start()
    return node
  }

  native(name: string): FakeNative {
    const native = this.group.running.get(name)
    if (native === undefined) throw new Error(`${name} does not run`)
    return native
  }

  /** Of the HTTP API. */
  async get(name: string, path: string): Promise<{ status: number; body: never }> {
    const response = await fetch(`http://${this.nodes.get(name)?.addresses.http}${path}`)
    return { status: response.status, body: (await response.json()) as never }
  }

  /** Ends a node as a crash does: nobody is told. */
  async kill(name: string): Promise<void> {
    const node = this.nodes.get(name)
    this.nodes.delete(name)
    const part = node?.cluster
    await part?.reconciler.stop()
    await part?.native.close()
    await part?.membership.close()
    // What is left are its ports.
    await node?.stop()
  }

  async stop(): Promise<void> {
    const running = [...this.nodes.values()].filter(({ state }) => state === 'running')
    await Promise.all(running.map((node) => node.stop()))
    if (this.#root !== null) await rm(await this.#root, { recursive: true, force: true })
  }
}

/** Below the range that the kernel gives out by itself. */
export const CLUSTER_PORT = 14_321
