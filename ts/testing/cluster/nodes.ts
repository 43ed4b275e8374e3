/**
 * A cluster of real nodes, each a process of its own on an address of its own (127.x.y.1, .2, …), with
 * one place of tables for all. For tests that kill, pause and restart them.
 *
 * ```ts
 * const cluster = await ClusterNodes.start(3)
 * await cluster.ready()
 * await cluster.node('n2').kill()                       // as `kill -9`
 * await cluster.until('n1', (status) => member(status, 'n2').status === 'dead')
 * await cluster.restart('n2')                           // the same folder, addresses and name
 * await cluster.end()
 * ```
 */

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { systemClock } from '../../base/clock.js'
import type { ClusterStatus, MemberStatus } from '../../node/cluster/status.js'
import { type Program, ServerProcess, set } from '../server.js'
import { Network } from './network.js'

const run = promisify(execFile)

export interface ClusterNodesOptions {
  /** Settings of every node. */
  settings?: Record<string, string | number>
  /** Arguments of every node. */
  args?: string[]
  /** What is started in place of the checkout's command line. */
  program?: Program
  /** Where the tables are; by default in a folder of the cluster's. */
  tables?: string
  /** Of the join list; by default all nodes that are started together. */
  join?: string[]
  /** Whether each node has a network namespace of its own, so that a test can cut them apart. */
  isApart?: boolean
  /** File systems in memory for the data folders of nodes, by name: their sizes in MiB. */
  disks?: Record<string, number>
}

/** How long `ready` and `until` wait. */
const PATIENCE_MS = 60_000
const LOOK_MS = 50
const CLUSTER_PORT = 4321
const PEER_PORT = 4322

/** A node that is started, stopped and started anew under the same name and addresses. */
export class ClusterNode {
  #process: ServerProcess | null = null
  #isPaused = false
  #addresses: Record<string, string> = {}
  #control = ''

  constructor(
    readonly name: string,
    /** `127.x.y.z`; in a namespace of its own, `10.99.0.z`. */
    readonly host: string,
    readonly dataDir: string,
    private readonly args: string[],
    private readonly program: Program | undefined,
  ) {}

  /** Gossip and control. */
  get cluster(): string {
    return `${this.host}:${CLUSTER_PORT}`
  }

  get peer(): string {
    return `${this.host}:${PEER_PORT}`
  }

  /** Where a client reaches its control calls; the same over restarts. */
  get control(): string {
    return this.#control
  }

  /** Throws while it does not run. */
  get process(): ServerProcess {
    if (this.#process === null) throw new Error(`${this.name} does not run`)
    return this.#process
  }

  get isRunning(): boolean {
    const child = this.#process?.child
    return child !== undefined && child.exitCode === null && child.signalCode === null
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  get pid(): number {
    return this.process.child.pid as number
  }

  /** `HOST:PORT` of a server; the same over restarts. */
  get addresses(): Readonly<Record<'otlpGrpc' | 'otlpHttp' | 'http' | 'flight', string>> {
    return this.#addresses as never
  }

  async start(more: string[] = []): Promise<void> {
    // None of those that the kernel gives to whoever connects: a client that tries a port of its own
    // machine that nobody listens at can meet itself there, and keep the node from it.
    const at = (flag: string, port: number) => [flag, `${this.host}:${port}`]
    const listen = [...at('--otlp-grpc', 4317), ...at('--otlp-http', 4318), ...at('--http', 4319)]
    const flight = at('--flight', 4320)
    const args = [...listen, ...flight, '--cluster', this.cluster, '--peer', this.peer]
    this.#process = await ServerProcess.start(
      this.dataDir,
      [...args, ...this.args, ...more],
      this.program,
    )
    const { cluster, ...bound } = this.#process.addresses
    this.#addresses = bound as never
    this.#control = cluster ?? ''
  }

  /** As `kill -9` does it, whether it is paused or not. */
  async kill(): Promise<void> {
    await this.process.kill()
    this.#isPaused = false
  }

  /** As an init system does it; resolves with the exit code. */
  stop(): Promise<number | null> {
    this.resume()
    return this.process.stop()
  }

  /** SIGSTOP: it keeps its sockets and does nothing. */
  pause(): void {
    process.kill(this.pid, 'SIGSTOP')
    this.#isPaused = true
  }

  resume(): void {
    if (!this.#isPaused) return
    process.kill(this.pid, 'SIGCONT')
    this.#isPaused = false
  }

  /** The cluster as it sees it. */
  async status(): Promise<ClusterStatus> {
    const response = await fetch(this.process.url('/api/v1/cluster'), {
      signal: AbortSignal.timeout(5000),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${this.name}: ${response.status} ${text}`)
    return JSON.parse(text) as ClusterStatus
  }

  /** Whether /ready says so. */
  async isReady(): Promise<boolean> {
    try {
      const signal = AbortSignal.timeout(2000)
      const response = await fetch(this.process.url('/ready'), { signal })
      await response.arrayBuffer()
      return response.ok
    } catch {
      return false
    }
  }
}

export class ClusterNodes {
  readonly nodes: ClusterNode[] = []
  readonly #mounts: string[] = []
  #next = 1

  private constructor(
    readonly folder: string,
    private readonly options: ClusterNodesOptions,
    /** The first three bytes of the nodes' addresses, so that two clusters never share one. */
    private readonly net: string,
    private readonly apart: Network | null,
  ) {}

  /** Starts `count` nodes, `n1` and so on, at once; the first begins the metadata group. */
  static async start(count: number, options: ClusterNodesOptions = {}): Promise<ClusterNodes> {
    const folder = await mkdtemp(join(tmpdir(), 'otlake-cluster-'))
    await mkdir(join(folder, 'tables'))
    const net = `127.${1 + (process.pid % 250)}.${1 + (clusters++ % 250)}`
    const apart = options.isApart ? await Network.open(count, net) : null
    const cluster = new ClusterNodes(folder, options, net, apart)
    const join_ = options.join ?? cluster.#hosts(count)
    for (let index = 0; index < count; index++) cluster.#make(join_)
    try {
      for (const [name, mib] of Object.entries(options.disks ?? {})) await cluster.#mount(name, mib)
      await Promise.all(cluster.nodes.map((node) => node.start()))
    } catch (error) {
      await cluster.end()
      throw error
    }
    return cluster
  }

  /** What is between the nodes of a cluster that is apart. */
  get network(): Network {
    if (this.apart === null) throw new Error('start the nodes with isApart to cut them apart')
    return this.apart
  }

  /** Cuts a node off from all others, both ways. */
  async isolate(name: string): Promise<void> {
    const index = this.#index(name)
    const others = this.nodes.map((_, at) => at + 1).filter((other) => other !== index)
    await Promise.all(others.map((other) => this.network.cut(index, other)))
  }

  /** Cuts two nodes apart; every other hears both. */
  async cut(a: string, b: string): Promise<void> {
    await this.network.cut(this.#index(a), this.#index(b))
  }

  /** `to` hears nothing of `from` any more. */
  async cutOneWay(from: string, to: string): Promise<void> {
    await this.network.cutOneWay(this.#index(from), this.#index(to))
  }

  /** The place of the tables, the same for all. */
  get tables(): string {
    return this.options.tables ?? join(this.folder, 'tables')
  }

  get running(): ClusterNode[] {
    return this.nodes.filter(({ isRunning, isPaused }) => isRunning && !isPaused)
  }

  /** By name. */
  node(name: string): ClusterNode {
    const found = this.nodes.find((node) => node.name === name)
    if (found === undefined) throw new Error(`there is no node ${name}`)
    return found
  }

  /** Starts one more, which joins those that run. */
  async add(args: string[] = []): Promise<ClusterNode> {
    const node = this.#make(this.running.map(({ cluster }) => cluster))
    await node.start(args)
    return node
  }

  /** Starts a node that was killed or stopped, as it was. */
  async restart(name: string, args: string[] = []): Promise<ClusterNode> {
    const node = this.node(name)
    if (node.isRunning) await node.stop()
    await node.start(args)
    return node
  }

  /** Resolves when all that run are ready, know each other and have their shares of the shards. */
  async ready(timeoutMs = PATIENCE_MS): Promise<void> {
    const names = this.running.map(({ name }) => name)
    for (const node of this.running) {
      await this.until(
        node.name,
        (status) =>
          status.ready &&
          status.shards.left === 0 &&
          names.every((name) => isWell(status.members.find((each) => each.name === name))),
        timeoutMs,
      )
    }
  }

  /**
   * Resolves when each node has one stream, the one that it writes: whatever a node that was gone, and is
   * back, held alone is where all read it.
   */
  async settled(timeoutMs = PATIENCE_MS): Promise<void> {
    const isSettled = ({ streams }: ClusterStatus) =>
      streams.every(({ state }) => state === 'open') &&
      new Set(streams.map(({ owner }) => owner)).size === streams.length
    for (const { name } of this.running) await this.until(name, isSettled, timeoutMs)
  }

  /** Resolves when a node sees the cluster so; rejects with what it saw last. */
  async until(
    name: string,
    isSo: (status: ClusterStatus) => boolean,
    timeoutMs = PATIENCE_MS,
  ): Promise<ClusterStatus> {
    const node = this.node(name)
    const until = performance.now() + timeoutMs
    let seen: unknown = null
    while (performance.now() < until) {
      try {
        const status = await node.status()
        if (isSo(status)) return status
        seen = status
      } catch (error) {
        seen = (error as Error).message
      }
      await systemClock.sleep(LOOK_MS)
    }
    const logs = this.nodes
      .filter(({ isRunning }) => isRunning)
      .map((each) => `${each.name}:\n${each.process.log.slice(-20).join('\n')}`)
    throw new Error(`${name} never saw that; it sees ${JSON.stringify(seen)}\n${logs.join('\n')}`)
  }

  /** What every node that runs counted of broken invariants. */
  async violations(): Promise<string[]> {
    const found = await Promise.all(
      this.running.map(async ({ name, process: each }) =>
        (await each.violations()).map((line) => `${name}: ${line}`),
      ),
    )
    return found.flat()
  }

  /** Kills what runs and deletes the folder. */
  async end(): Promise<void> {
    await Promise.all(this.nodes.filter(({ isRunning }) => isRunning).map((node) => node.kill()))
    await this.apart?.close()
    for (const mounted of this.#mounts.splice(0)) await run('umount', [mounted])
    await rm(this.folder, { recursive: true, force: true })
  }

  #hosts(count: number): string[] {
    return Array.from({ length: count }, (_, index) => `${this.#host(index + 1)}:${CLUSTER_PORT}`)
  }

  #host(index: number): string {
    return this.apart?.host(index) ?? `${this.net}.${index}`
  }

  #index(name: string): number {
    return this.nodes.indexOf(this.node(name)) + 1
  }

  /** Gives a node's data folder a file system of its own, in memory. */
  async #mount(name: string, mib: number): Promise<void> {
    const { dataDir } = this.node(name)
    await mkdir(dataDir)
    await run('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', dataDir])
    this.#mounts.push(dataDir)
  }

  #make(seeds: readonly string[]): ClusterNode {
    const index = this.#next++
    const { settings = {}, args = [], program } = this.options
    const node = new ClusterNode(
      `n${index}`,
      this.#host(index),
      join(this.folder, `n${index}`),
      [
        ...['--join', seeds.join(','), '--tables', this.tables],
        ...set({ 'cluster.node': `n${index}`, ...settings }),
        ...args,
      ],
      this.apart?.program(index) ?? program,
    )
    this.nodes.push(node)
    return node
  }
}

/** Clusters that this process has started. */
let clusters = 0

function isWell(member: MemberStatus | undefined): boolean {
  return member !== undefined && member.status === 'alive' && member.ready && member.shards > 0
}

/** A member in what a node sees. Throws where it knows none of that name. */
export function member(status: ClusterStatus, name: string): MemberStatus {
  const found = status.members.find((each) => each.name === name)
  if (found === undefined) throw new Error(`${status.node} knows no ${name}`)
  return found
}
