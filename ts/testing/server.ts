/**
 * A node in a process of its own, as a user starts it: the built command line, a data folder,
 * ports that the kernel picks. For tests that cross a socket or kill the process.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import * as grpc from '@grpc/grpc-js'
import { controlService } from '../node/control.js'

/** The built command line. */
export const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
/** I1 to I10, each a counter. */
const INVARIANTS = 10
/** A start replays the log; on a busy machine that takes a while. */
const READY_TIMEOUT_MS = 110_000

export interface Addresses {
  otlpGrpc: string
  otlpHttp: string
  http: string
  flight: string
  cluster: string | null
}

/** What is started in place of the checkout's command line. */
export interface Program {
  /** The program and its first arguments. */
  command: [string, ...string[]]
  cwd?: string
  env?: NodeJS.ProcessEnv
  /** Where this process reaches what the program listens at; by default there. */
  reach?: (address: string) => string
}

/** Settings as arguments of the command line. */
export const set = (settings: Record<string, string | number>): string[] =>
  Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`])

/** A running `otlake serve`. */
export class ServerProcess {
  private constructor(
    readonly child: ChildProcess,
    readonly addresses: Addresses,
    readonly dataDir: string,
    readonly log: string[],
  ) {}

  /** Starts a node; `args` are added to the command line. Rejects with its log if it ends. */
  static async start(
    dataDir: string,
    args: string[] = [],
    program: Program = { command: [process.execPath, MAIN] },
  ): Promise<ServerProcess> {
    const any = '127.0.0.1:0'
    const { cwd, env, reach = (address) => address } = program
    const [file, ...first] = program.command
    const child = spawn(
      file,
      [
        ...first,
        'serve',
        '--data-dir',
        dataDir,
        ...['--otlp-grpc', any, '--otlp-http', any, '--http', any, '--flight', any],
        ...['--cluster', 'off'],
        ...args,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], cwd, env: env ?? unconfigured() },
    )
    const log: string[] = []
    const addresses = await new Promise<Addresses>((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL')
        reject(new Error(`the node was not ready in time:\n${log.join('\n')}`))
      }, READY_TIMEOUT_MS)
      const read = (line: string) => {
        log.push(line)
        const event = parse(line)
        if (event?.msg === 'ready') {
          clearTimeout(timer)
          resolve(reached(event.addresses as Addresses, reach))
        }
      }
      if (child.stdout) createInterface({ input: child.stdout }).on('line', read)
      if (child.stderr) createInterface({ input: child.stderr }).on('line', read)
      child.once('exit', (code, signal) => {
        clearTimeout(timer)
        reject(new Error(`the node ended (${code ?? signal}):\n${log.join('\n')}`))
      })
    })
    return new ServerProcess(child, addresses, dataDir, log)
  }

  /** The address of a path of the HTTP API. */
  url(path: string): string {
    return `http://${this.addresses.http}${path}`
  }

  /** The rows of a statement. Throws with the server's words where it refuses. */
  async rows<Row = Record<string, unknown>>(
    query: string,
    parameters: unknown[] = [],
    headers: Record<string, string> = {},
  ): Promise<Row[]> {
    const response = await fetch(this.url('/api/v1/sql'), {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ query, parameters, format: 'json' }),
    })
    const body = await response.text()
    if (!response.ok) throw new Error(`${response.status}: ${body}`)
    return (JSON.parse(body) as { rows: Row[] }).rows
  }

  /** The single number of a statement's single row. */
  async count(query: string, parameters: unknown[] = []): Promise<number> {
    const [row] = await this.rows(query, parameters)
    return Number(Object.values(row ?? {})[0])
  }

  /** Has everything acknowledged written to files; for a node with a control port. */
  async flush(): Promise<void> {
    const Control = controlService()
    const client = new Control(this.addresses.cluster ?? '', grpc.credentials.createInsecure())
    await new Promise<void>((resolve, reject) =>
      (client.Flush as (request: object, done: (error: Error | null) => void) => void).call(
        client,
        {},
        (error) => (error ? reject(error) : resolve()),
      ),
    )
    client.close()
  }

  /** What the node counted of broken invariants; none where it has ended. */
  async violations(): Promise<string[]> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return []
    const text = await (await fetch(this.url('/metrics'))).text()
    const counters = text
      .split('\n')
      .filter((line) => line.startsWith('otlake_invariant_violations_total{'))
    if (counters.length !== INVARIANTS) throw new Error(`${counters.length} invariants are told`)
    return counters.filter((line) => !line.endsWith(' 0'))
  }

  /** As `kill -9` does it: nothing gets to finish. */
  async kill(): Promise<void> {
    await this.end('SIGKILL')
  }

  /** As an init system does it; resolves with the exit code. */
  async stop(): Promise<number | null> {
    return this.end('SIGTERM')
  }

  private async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode
    const ended = once(this.child, 'exit')
    this.child.kill(signal)
    const [code] = (await ended) as [number | null]
    return code
  }
}

/**
 * This process's environment without what would configure a node, or be refused by it: seeds and
 * the like of tests have names that begin the same.
 */
function unconfigured(): NodeJS.ProcessEnv {
  const ours = ([name]: [string, unknown]) => !name.startsWith('OTLAKE_')
  return Object.fromEntries(Object.entries(process.env).filter(ours))
}

function reached(addresses: Addresses, reach: (address: string) => string): Addresses {
  const mapped = Object.entries(addresses).map(([server, address]) => [
    server,
    address === null ? null : reach(address),
  ])
  return Object.fromEntries(mapped) as Addresses
}

function parse(line: string): { msg?: string; addresses?: unknown } | null {
  try {
    return JSON.parse(line)
  } catch {
    return null
  }
}

/** An empty folder that `remove` deletes with all it holds. */
export async function temporaryFolder(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'otlake-test-'))
  return { path, remove: () => rm(path, { recursive: true, force: true }) }
}
