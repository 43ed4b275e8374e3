/**
 * The packages as they are published, installed from their tarballs in an empty folder with no Rust
 * on the PATH: they serve and query under every supported Node.js, their types hold in a strict
 * project, and the packages' linters find nothing.
 */

import { execFile } from 'node:child_process'
import { cp, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { publint } from 'publint'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { send, traceRequest } from '../testing/otlp.js'
import {
  barePath,
  install,
  NODE_VERSIONS,
  nodeProgram,
  packNative,
  platforms,
  tarballs,
} from '../testing/packages.js'
import { ServerProcess, temporaryFolder } from '../testing/server.js'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const INSTALL_TIMEOUT_MS = 300_000

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let consumer: string
let main: string
let native: string

beforeAll(async () => {
  folder = await temporaryFolder()
  ;[main, native] = await tarballs(folder.path)
  for (const file of [main, native]) {
    console.log(`${basename(file)}: ${((await stat(file)).size / 1e6).toFixed(2)} MB`)
  }
  consumer = join(folder.path, 'consumer')
  await mkdir(consumer)
  await install(consumer, [main, native], await barePath(folder.path, process.execPath))
  await cp(join(ROOT, 'examples'), consumer, { recursive: true })
}, INSTALL_TIMEOUT_MS)

afterAll(() => folder.remove())

test('nothing that builds is on the PATH of the installation', async () => {
  const path = join(folder.path, 'bin')
  for (const tool of ['cargo', 'rustc', 'cc', 'python3']) {
    await expect(run(tool, ['--version'], { env: { PATH: path } }), tool).rejects.toMatchObject({
      code: 'ENOENT',
    })
  }
})

/** The command that the package installs; its first line finds node on the PATH, as for npx. */
function otlake(folder: string, node: string): [string, ...string[]] {
  const installed = join(folder, 'node_modules')
  return process.platform === 'win32'
    ? [node, join(installed, 'otlake/dist/cli/main.js')]
    : [join(installed, '.bin/otlake')]
}

test(
  "from an empty folder to a service's own span in SQL, as the README says",
  async () => {
    const began = performance.now()
    const service = join(folder.path, 'five-minutes')
    await mkdir(service)
    const path = await barePath(service, process.execPath)
    // The packages beside otlake are those that docs/clients.md names for hello.mjs.
    const page = await readFile(join(ROOT, 'docs/clients.md'), 'utf8')
    const [, named = ''] = /### JavaScript\n\n`npm install ([^`]+)`/.exec(page) ?? []
    const sdk = named.split(/\s+/)
    expect(sdk).toContain('@opentelemetry/sdk-trace-base')
    await install(service, [main, native, ...sdk], path)
    const installed = performance.now()

    const env = { PATH: path, HOME: service, TMPDIR: service }
    const command = otlake(service, process.execPath)
    const program = { command, cwd: service, env }
    const server = await ServerProcess.start(join(service, 'data'), [], program)
    try {
      await cp(join(ROOT, 'clients/javascript/hello.mjs'), join(service, 'hello.mjs'))
      const { otlpHttp, http } = server.addresses
      await run(process.execPath, ['hello.mjs'], {
        cwd: service,
        env: {
          ...env,
          OTEL_SERVICE_NAME: 'checkout',
          OTEL_EXPORTER_OTLP_ENDPOINT: `http://${otlpHttp}`,
        },
      })
      const [file, ...args] = command
      const question = "SELECT name FROM spans WHERE service_name = 'checkout'"
      const answer = await run(file, [...args, 'query', question, '--format', 'csv'], {
        cwd: service,
        env: { ...env, OTLAKE_URL: `http://${http}` },
      })
      expect(answer.stdout).toBe('name\nhello from JavaScript\n')
    } finally {
      await server.stop()
    }
    const seconds = (from: number, to: number) => ((to - from) / 1000).toFixed(1)
    const ended = performance.now()
    console.log(
      `from an empty folder to the answer: ${seconds(began, ended)} s, ${seconds(began, installed)} s of it npm install`,
    )
  },
  INSTALL_TIMEOUT_MS,
)

for (const version of NODE_VERSIONS) {
  test(`under Node.js ${version} it serves, takes OTLP, answers and stops`, async (context) => {
    const node = await nodeProgram(version)
    if (node === null) return context.skip(`no Node.js ${version} for this machine`)
    const home = join(folder.path, `node-${version}`)
    const env = { PATH: await barePath(home, node), HOME: home, TMPDIR: home }
    const program = { command: otlake(consumer, node), cwd: consumer, env }
    const reported = await run(node, ['--version'], { env })
    expect(reported.stdout.split('.')[0]).toBe(`v${version.split('.')[0]}`)

    const server = await ServerProcess.start(join(home, 'data'), [], program)
    try {
      expect(await send(server, 'traces', traceRequest('packed', 1, 7))).toBe(true)
      expect(await server.count("SELECT count(*) FROM spans WHERE service_name = 'packed'")).toBe(7)
    } finally {
      const code = await server.stop()
      // Windows has no SIGTERM: the process ends at once.
      if (process.platform !== 'win32') expect(code).toBe(0)
    }

    const example = await run(node, ['library.mjs'], { cwd: consumer, env })
    expect(example.stdout).toContain('HTTP 200, 2 spans in all')
    const required = 'console.log(typeof require("otlake").Otlake.open)'
    const script = await run(node, ['--input-type=commonjs', '-e', required], {
      cwd: consumer,
      env,
    })
    expect(script.stdout.trim()).toBe('function')
  })
}

test('the types hold in a strict project that checks its libraries', async () => {
  const project = join(consumer, 'typed')
  await mkdir(project)
  await writeFile(join(project, 'consumer.mts'), TYPED)
  await writeFile(
    join(project, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        ...{ module: 'nodenext', target: 'es2022', lib: ['es2023'], types: ['node'] },
        ...{ strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true },
      },
    }),
  )
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  const checked = await run(process.execPath, [tsc, '-p', project]).catch((error) => error)
  expect(checked.stdout).toBe('')
})

/** Uses every export; the last lines are mistakes that the types have to refuse. */
const TYPED = `
import type { Table } from 'apache-arrow'
import {
  type Addresses, type ErrorCode, type ErrorKind, type IngestResult, type Logger,
  type OpenOptions, Otlake, OtlakeError, type ReadOptions, type ServeOptions, type Signal,
  type Stats,
} from 'otlake'

const ignore = (_fields: object, _message: string): void => undefined
const logger: Logger = { error: ignore, warn: ignore, info: ignore, debug: ignore }
const options: OpenOptions = { dataDir: './data', settings: { durability: 'relaxed' }, logger }
const lake: Otlake = await Otlake.open(options)
const signal: Signal = 'logs'
const result: IngestResult = await lake.ingest(signal, new Uint8Array(), { tenant: 'a' })
const read: ReadOptions = { consistency: 'session', session: lake.session() }
const table: Table = await lake.sql('SELECT $1, $2', ['a', null], read)
const trace: object | null = await lake.trace('00', read)
const stats: Stats = lake.stats()
const durable: bigint = stats.lastDurable
const listen: ServeOptions = { otlpGrpc: '127.0.0.1:0' }
const addresses: Addresses = await lake.serve(listen)
try {
  await lake.flush()
  await lake.close()
} catch (error) {
  if (error instanceof OtlakeError) {
    const code: ErrorCode = error.code
    const kind: ErrorKind = error.kind
    console.log(code === 'HANDLE_CLOSED', kind === 'invalid', error.fix)
  }
}
console.log(result.accepted, table.numRows, trace, durable, addresses.otlpGrpc)

// @ts-expect-error there is no such signal
await lake.ingest('profiles', new Uint8Array())
// @ts-expect-error there is no such consistency
await lake.sql('SELECT 1', [], { consistency: 'maybe' })
// @ts-expect-error a folder is needed
await Otlake.open({})
`

test('publint finds nothing in either package', async () => {
  for (const file of [main, native]) {
    const bytes = await readFile(file)
    const tarball = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
    const { messages } = await publint({ pack: { tarball: tarball as ArrayBuffer }, strict: true })
    expect(messages, basename(file)).toEqual([])
  }
})

test('attw finds nothing in the types of the main package', async () => {
  const attw = join(ROOT, 'node_modules/@arethetypeswrong/cli/dist/index.js')
  // The package is an ES module alone; Node.js 20.19 and later can \`require\` it all the same.
  const args = [attw, '--profile', 'esm-only', '--format', 'json', '--no-color', main]
  const { stdout } = await run(process.execPath, args)
  const { analysis } = JSON.parse(stdout) as { analysis: { problems: { kind: string }[] } }
  const problems = analysis.problems.filter(({ kind }) => kind !== 'CJSResolvesToESM')
  expect(problems).toEqual([])
})

test('each platform of the table packs to a package that npm installs on that platform alone', async () => {
  const module = join(folder.path, 'any.node')
  await writeFile(module, 'the contents do not matter here')
  const read = async (path: string) => JSON.parse(await readFile(path, 'utf8'))
  const { version, optionalDependencies } = await read(
    join(consumer, 'node_modules/otlake/package.json'),
  )
  const out = join(folder.path, 'platforms')
  const names: string[] = []
  for (const { name, os, libc } of await platforms()) {
    const tarball = await packNative(out, name, module)
    names.push(tarball.name)
    const manifest = await read(join(out, `native-${name}`, 'package.json'))
    const cpu = name.split('-')[1]
    expect(manifest).toMatchObject({ version, os: [os], cpu: [cpu], main: `./otlake.${name}.node` })
    expect(manifest.libc).toEqual(libc === undefined ? undefined : [libc])
  }
  const wanted = Object.fromEntries(names.map((name) => [name, version]))
  expect(optionalDependencies).toEqual(wanted)
  expect(names.sort()).toEqual(
    ['darwin-arm64', 'darwin-x64', 'linux-arm64-gnu', 'linux-x64-gnu', 'linux-x64-musl']
      .concat('win32-x64-msvc')
      .map((name) => `@otlake/native-${name}`),
  )
})
