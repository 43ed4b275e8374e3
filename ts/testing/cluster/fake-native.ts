/**
 * The native side of a cluster in memory, for nodes of one process: a metadata group that has a
 * leader while a majority of its voters runs, streams that are registered, sealed and recovered, and
 * locks. It replicates nothing.
 */

import { createHash, randomBytes } from 'node:crypto'
import { OtlakeError } from '../../base/errors.js'
import type {
  ClusterView,
  Metadata,
  NativeCluster,
  NativeClusterConfig,
  RecoveryReport,
  StreamRecord,
} from '../../native/cluster.js'

/** What the nodes of one cluster share. */
export class FakeGroup {
  id = ''
  term = 0
  voters: string[] = []
  readonly running = new Map<string, FakeNative>()
  readonly streams = new Map<string, StreamRecord>()
  readonly config: Record<string, unknown> = {}
  readonly locks = new Map<string, bigint>()
  #leader = ''
  #token = 0n

  start = async (_engine: unknown, config: NativeClusterConfig): Promise<NativeCluster> => {
    const native = new FakeNative(this, config)
    this.running.set(config.name, native)
    return native
  }

  /** Whoever leads; empty without a majority. */
  get leader(): string {
    const alive = this.voters.filter((name) => this.running.has(name))
    if (2 * alive.length <= this.voters.length) return ''
    if (!alive.includes(this.#leader)) {
      this.#leader = alive[0] ?? ''
      this.term++
    }
    return this.#leader
  }

  begin(name: string): void {
    if (this.id !== '') throw new OtlakeError('INTERNAL', 'a second metadata group')
    this.id = randomBytes(8).toString('hex')
    this.voters = [name]
  }

  token(): bigint {
    return ++this.#token
  }
}

export class FakeNative implements NativeCluster {
  readonly address: string
  readonly views: ClusterView[] = []
  readonly recovered: string[] = []
  readonly stream = randomBytes(16).toString('hex')
  /** What `recover` does; a test may throw in it. */
  recovery: (stream: string) => Promise<RecoveryReport> = async (stream) => ({
    stream,
    complete: true,
    records: 1,
    missingFrom: [],
  })
  drained = false
  /** Others have taken its stream over. */
  fenced: number | null = null
  /** Whether the leader has taken it in. */
  isIn = false
  #isClosed = false

  constructor(
    readonly group: FakeGroup,
    readonly config: NativeClusterConfig,
  ) {
    // As if it had been bound: nobody connects.
    const port =
      20_000 + (createHash('sha256').update(config.name).digest().readUInt16BE() % 20_000)
    this.address = config.listen.replace(/:0$/, `:${port}`)
    // What is on its disk.
    this.isIn = [...group.streams.values()].some(({ owner }) => owner === config.name)
  }

  get name(): string {
    return this.config.name
  }

  watch(): void {}

  place(view: ClusterView): void {
    this.#open()
    this.views.push(view)
    if (this.group.leader !== this.name) return
    for (const { name } of view.members) {
      const member = this.group.running.get(name)
      if (member !== undefined) member.isIn = true
    }
    if (view.voters.length > 0) this.group.voters = [...view.voters]
    const own = this.group.streams.get(this.stream)
    if (own !== undefined) own.followers = [...view.followers.spans]
  }

  async bootstrap(): Promise<void> {
    this.#open()
    this.group.begin(this.name)
    this.isIn = true
  }

  async ready(): Promise<void> {
    while (!this.isIn || this.group.leader === '') {
      if (this.#isClosed) throw new OtlakeError('HANDLE_CLOSED', 'the cluster was closed')
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    const { stream, name } = this
    this.group.streams.set(stream, {
      stream,
      owner: name,
      epoch: 1,
      state: 'open',
      by: '',
      followers: [],
    })
  }

  metadata(): string {
    this.#open()
    const { id, leader, term, voters, streams, config, running } = this.group
    const learners = [...running.keys()].filter((name) => !voters.includes(name))
    const known: Metadata = {
      group: this.isIn ? id : '',
      leader: this.isIn ? leader : '',
      term,
      voters: this.isIn ? voters : [],
      learners: this.isIn ? learners : [],
      streams: this.isIn ? [...streams.values()] : [],
      refused: {},
      failure: '',
      config: this.isIn ? config : {},
      services: {},
    }
    return JSON.stringify(known)
  }

  async catchUp(): Promise<void> {
    this.#open()
    if (this.group.leader === '') throw new OtlakeError('CLUSTER_UNREACHABLE', 'no leader')
  }

  async configure(key: string, value: string): Promise<void> {
    this.#open()
    if (this.group.leader === '') throw new OtlakeError('CLUSTER_UNREACHABLE', 'no leader')
    this.group.config[key] = JSON.parse(value)
  }

  async recover(stream: string): Promise<RecoveryReport> {
    this.#open()
    this.recovered.push(stream)
    const record = this.group.streams.get(stream)
    if (record !== undefined) Object.assign(record, { state: 'fenced', by: this.name })
    const report = await this.recovery(stream)
    if (report.complete && record !== undefined) record.state = 'sealed'
    return report
  }

  async drain(): Promise<void> {
    this.#open()
    this.drained = true
    const own = this.group.streams.get(this.stream)
    if (own !== undefined) own.state = 'sealed'
  }

  async lock(name: string): Promise<bigint> {
    this.#open()
    if (this.group.locks.has(name)) throw new OtlakeError('CLUSTER_UNREACHABLE', 'it is held')
    const token = this.group.token()
    this.group.locks.set(name, token)
    return token
  }

  async unlock(name: string, token: bigint): Promise<void> {
    if (this.group.locks.get(name) === token) this.group.locks.delete(name)
  }

  async holdLogs(): Promise<never> {
    throw this.#noFiles()
  }

  async lend(): Promise<never> {
    throw this.#noFiles()
  }

  async findCopies(): Promise<never> {
    throw this.#noFiles()
  }

  status(): string {
    const followers = (this.views.at(-1)?.followers.spans ?? []).map((name) => ({
      name,
      signal: 'spans',
      lagRecords: 0,
      lagBytes: 0,
      connected: this.group.running.has(name),
    }))
    const { stream, fenced } = this
    return JSON.stringify({ stream, followers, degraded: false, pending: 0, overdue: 0, fenced })
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.group.running.delete(this.name)
  }

  #noFiles(): OtlakeError {
    return new OtlakeError('NODE_STATE', 'the tables are in one place for all nodes')
  }

  #open(): void {
    if (this.#isClosed) throw new OtlakeError('HANDLE_CLOSED', 'the cluster was closed')
  }
}
