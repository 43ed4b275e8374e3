/**
 * Builds the programs of clients/ once and keeps them outside the checkout, in
 * ~/.cache/otlake/clients/<client>-<hash>: the hash covers everything that went in (pins, locks,
 * sources), so a warm run builds nothing and a changed pin builds anew. A client that cannot be
 * built fails the test that asked for it, with the builder's own words.
 */

import { type ChildProcess, execFile, type SpawnOptions, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { delimiter, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const CLIENTS = fileURLToPath(new URL('../../../clients', import.meta.url))
const CACHE = process.env.OTLAKE_CLIENTS_CACHE ?? join(homedir(), '.cache', 'otlake', 'clients')
/** Where `toolchains.sh` puts Go where there is none. */
const GO_FOLDER = 'go-1.27.3'
/** A cold build downloads a toolchain's worth of packages. */
export const BUILD_TIMEOUT_MS = 1_200_000
/** One run of one client; a JVM on a busy machine takes seconds to start. */
const RUN_TIMEOUT_MS = 120_000
/** One run of the load generator, whose server is killed again and again, and each of its exports. */
const GENERATOR_TIMEOUT_MS = 500_000
/** Spans that it holds while its server is slower than it: more than any test has it make. */
const GENERATOR_QUEUE = 100_000
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024

const environment = (added: Record<string, string> = {}): NodeJS.ProcessEnv => ({
  ...process.env,
  PATH: [process.env.PATH, '/usr/local/go/bin', join(CACHE, GO_FOLDER, 'go', 'bin')].join(
    delimiter,
  ),
  ...added,
})

/** The path of a file of clients/. */
export const clientFile = (path: string) => join(CLIENTS, path)

interface RunOptions {
  env?: Record<string, string>
  cwd?: string
  /** In milliseconds. */
  timeout?: number
}

/** Runs a program to its end. Resolves to stdout; rejects with what it wrote where it fails. */
export async function run(
  command: string,
  args: string[],
  options: RunOptions = {},
): Promise<string> {
  return (await runWhole(command, args, options)).stdout
}

/** The same, with all that it wrote. */
function runWhole(
  command: string,
  args: string[],
  options: RunOptions,
): Promise<{ stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const settings = {
      cwd: options.cwd,
      env: environment(options.env),
      timeout: options.timeout ?? RUN_TIMEOUT_MS,
      maxBuffer: MAX_OUTPUT_BYTES,
    }
    execFile(command, args, settings, (error, stdout, stderr) => {
      if (error === null) resolve({ stdout, stderr })
      else reject(new Error(`${command} ${args.join(' ')}: ${error.message}\n${stdout}\n${stderr}`))
    })
  })
}

/** Starts a program that runs on; the caller ends it. */
export function start(
  command: string,
  args: string[],
  options: { env: Record<string, string>; stdio: SpawnOptions['stdio'] },
): ChildProcess {
  return spawn(command, args, { ...options, env: environment(options.env) })
}

type Toolchain = 'go' | 'java' | 'python'

/** Each is put in place once, and only where a client needs it. */
const toolchains = new Map<Toolchain, Promise<string>>()

function ready(toolchain: Toolchain): Promise<string> {
  const begun =
    toolchains.get(toolchain) ??
    run('bash', [clientFile('toolchains.sh'), toolchain], { timeout: BUILD_TIMEOUT_MS })
  toolchains.set(toolchain, begun)
  return begun
}

/** The folder that `build` filled for this state of the files of `clients/<name>` that it reads. */
async function built(
  name: string,
  toolchain: Toolchain,
  reads: (file: string) => boolean,
  build: (source: string, result: string) => Promise<unknown>,
): Promise<string> {
  const source = join(CLIENTS, name)
  const hash = createHash('sha256').update(`${process.platform}-${process.arch}`)
  const entries = await readdir(source, { withFileTypes: true, recursive: true })
  const files = entries.filter((entry) => entry.isFile() && reads(entry.name))
  const paths = files.map((entry) => join(entry.parentPath ?? entry.path, entry.name)).sort()
  for (const path of paths) hash.update(relative(source, path)).update(await readFile(path))
  const result = join(CACHE, `${name}-${hash.digest('hex').slice(0, 16)}`)
  if (existsSync(result)) return result

  await ready(toolchain)
  await mkdir(CACHE, { recursive: true })
  // Renamed when it is whole: a build that was cut off leaves nothing that looks finished.
  const unfinished = await mkdtemp(join(CACHE, `${name}-unfinished-`))
  try {
    await build(source, unfinished)
    await rename(unfinished, result)
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    // Another run has finished the same build in the meantime.
    if (!existsSync(result)) throw error
  }
  return result
}

const slow = { timeout: BUILD_TIMEOUT_MS }

const all = () => true
const isPins = (file: string) => file === 'requirements.txt'

/** The interpreter whose packages are those of clients/<name>/requirements.txt. */
export async function python(name: 'python' | 's3' = 'python'): Promise<string> {
  const folder = await built(name, 'python', isPins, async (source, result) => {
    await run('python3', ['-m', 'venv', result], slow)
    const pins = join(source, 'requirements.txt')
    const pip = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--only-binary', ':all:']
    await run(join(result, 'bin', 'python'), [...pip, '-r', pins], slow)
  })
  return join(folder, 'bin', 'python')
}

/** The folder of the programs of a Go module of clients/. */
export async function goPrograms(
  name: 'go' | 'collector' | 'telemetrygen' | 'jaeger' | 'tempo',
  packages: string[] = ['./...'],
): Promise<string> {
  return built(name, 'go', all, (source, result) =>
    run('go', ['build', '-mod=readonly', '-o', `${result}/`, ...packages], {
      ...slow,
      cwd: source,
    }),
  )
}

/** The OpenTelemetry Collector. */
export const collector = async () => join(await goPrograms('collector'), 'collector')

/** The load generator of the OpenTelemetry project. */
export const telemetrygen = async () =>
  join(
    await goPrograms('telemetrygen', [
      'github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen',
    ]),
    'telemetrygen',
  )

export interface Generated {
  /** Traces, points or log records. */
  made: number
  /** What it wrote about exports that failed. */
  complaints: string[]
}

/**
 * Has the load generator send one signal, to its end. It drops nothing by itself: else its queue has room
 * for 2,048 spans, and those that do not fit are gone without a word, as soon as a server on a busy
 * machine is slower than the generator for a moment; and an export that takes 10 s is given up.
 */
export async function generate(
  signal: 'traces' | 'metrics' | 'logs',
  args: string[],
): Promise<Generated> {
  const env = {
    OTEL_BSP_MAX_QUEUE_SIZE: `${GENERATOR_QUEUE}`,
    OTEL_BSP_EXPORT_TIMEOUT: `${GENERATOR_TIMEOUT_MS}`,
  }
  const patience = ['--timeout', `${GENERATOR_TIMEOUT_MS}ms`]
  const { stderr } = await runWhole(await telemetrygen(), [signal, ...patience, ...args], {
    env,
    timeout: GENERATOR_TIMEOUT_MS,
  })
  const told = stderr.matchAll(new RegExp(`${signal} generated.*"${signal}": (\\d+)`, 'g'))
  return {
    made: [...told].reduce((sum, [, count]) => sum + Number(count), 0),
    complaints: stderr.split('\n').filter((line) => line.includes(' export: ')),
  }
}

/** What asks through the Go clients that Jaeger and Tempo have for their own query APIs. */
export const askJaeger = async () => join(await goPrograms('jaeger'), 'ask')
export const askTempo = async () => join(await goPrograms('tempo'), 'tempo')

/** The arguments that let `java` find the classes of clients/java. */
export async function javaArguments(): Promise<string[]> {
  const folder = await built('java', 'java', all, async (source, result) => {
    await cp(source, result, { recursive: true })
    const quiet = ['--quiet', '--batch-mode', '--no-transfer-progress']
    await run('mvn', [...quiet, 'process-classes'], { ...slow, cwd: result })
  })
  const target = join(folder, 'target')
  return [
    // Arrow reaches into the buffers of java.nio.
    '--add-opens=java.base/java.nio=ALL-UNNAMED',
    '-cp',
    `${join(target, 'classes')}${delimiter}${join(target, 'lib', '*')}`,
  ]
}
