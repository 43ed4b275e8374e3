/**
 * Runs every check and test, goes on after a failure, and ends with the names of what failed and one
 * line `N passed, N failed`. A lint step counts as one, and so does the benchmark's check, which times nothing: it sees that
 * no record is lost or doubled. `--lint`, or `--only lint|rust|vitest|bench`, runs a part.
 */

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { keepBuild, recallBuild } from './kept-builds.mjs'
import { cargoEnvironment } from './places.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const temporary = mkdtempSync(join(tmpdir(), 'otlake-test-'))
const MESSAGE_LINES = 12
const MESSAGE_WIDTH = 240
const PARTS = ['lint', 'rust', 'vitest', 'bench']

const only = process.argv.includes('--only')
  ? process.argv[process.argv.indexOf('--only') + 1]
  : null
const part = process.argv.includes('--lint') ? 'lint' : only
if (part !== null && !PARTS.includes(part)) {
  console.error(`Name one of ${PARTS.join(', ')} after --only.`)
  process.exit(2)
}

/** Streams a command's output, gives each line of stdout to `onLine`, and resolves to its status. */
function run(command, args, onLine) {
  console.log(`\n> ${[command, ...args].join(' ')}`)
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: cargoEnvironment(),
      stdio: ['ignore', onLine ? 'pipe' : 'inherit', 'inherit'],
    })
    child.once('error', (error) => {
      console.error(`${command} could not be started: ${error.message}`)
      resolve(-1)
    })
    child.once('close', (status) => resolve(status ?? -1))
    if (onLine) {
      createInterface({ input: child.stdout }).on('line', (line) => {
        console.log(line)
        onLine(line)
      })
    }
  })
}

/** A command that passes or fails as a whole. */
async function whole(command, args) {
  const ok = (await run(command, args)) === 0
  return { passed: ok ? 1 : 0, failed: ok ? 0 : 1, names: ok ? [] : [[command, ...args].join(' ')] }
}

/** Clippy over all crates, in the profile that everything is built with. */
function clippy() {
  const profile = ['--all-targets', '--locked', '--profile', 'release']
  return whole('cargo', ['clippy', '--workspace', ...profile, '--', '-D', 'warnings'])
}

async function cargoTest() {
  const count = { passed: 0, failed: 0, names: [] }
  const status = await run(
    'cargo',
    // No crate has documentation tests; clippy has compiled the examples.
    [
      'test',
      '--release',
      '--workspace',
      '--locked',
      '--no-fail-fast',
      '--lib',
      '--bins',
      '--tests',
    ],
    (line) => {
      const failure = /^test (.+) \.\.\. FAILED$/.exec(line)
      if (failure !== null) count.names.push(failure[1])
      const result = /^test result: \w+\. (\d+) passed; (\d+) failed/.exec(line)
      if (result === null) return
      count.passed += Number(result[1])
      count.failed += Number(result[2])
    },
  )
  return judged(count, status, 'cargo test')
}

async function vitest(project) {
  const report = join(temporary, `${project}.json`)
  const status = await run(process.execPath, [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--project',
    project,
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
  ])
  const count = { passed: 0, failed: 0, names: [] }
  try {
    const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(report, 'utf8'))
    count.passed = numPassedTests
    count.failed = numFailedTests
    for (const { name, status, assertionResults } of testResults) {
      if (status !== 'failed') continue
      const file = relative(root, name)
      const failures = assertionResults.filter((test) => test.status === 'failed')
      // A file that fails outside its tests, in a hook say, has no test to name.
      if (failures.length === 0) count.names.push(file)
      for (const test of failures) {
        count.names.push(`${file}: ${test.fullName}\n${firstLines(test.failureMessages)}`)
      }
    }
  } catch {
    // A run that died early left no report: its status says so.
  }
  return judged(count, status, `vitest, project ${project}`)
}

/** What a failed test said, short enough to stand at the end of the whole run's output. */
function firstLines(messages) {
  const lines = messages.join('\n').split('\n').slice(0, MESSAGE_LINES)
  return lines.map((line) => `    ${line.slice(0, MESSAGE_WIDTH)}`).join('\n')
}

/** A suite that ran nothing, or failed outside a test (a compile error, say), counts as one failure. */
function judged(count, status, suite) {
  if (count.failed === 0 && (status !== 0 || count.passed === 0)) {
    count.failed = 1
    if (count.names.length === 0) count.names.push(`${suite}, which ended with status ${status}`)
  }
  return count
}

const node = process.execPath
const steps = [
  ['lint', () => whole(node, ['node_modules/@biomejs/biome/bin/biome', 'ci', '.'])],
  ['lint', () => whole(node, ['node_modules/typescript/bin/tsc', '--noEmit'])],
  ['lint', () => whole(node, ['node_modules/typescript/bin/tsc', '-p', 'ts/ui'])],
  ['lint', () => whole(node, ['node_modules/size-limit/bin.js'])],
  ['lint', () => whole('cargo', ['fmt', '--all', '--check'])],
  ['lint', clippy],
  ['rust', cargoTest],
  ['vitest', () => vitest('unit')],
  ['vitest', () => vitest('e2e')],
]
// The benchmark reads what a process has used from /proc.
if (process.platform === 'linux') {
  steps.push(['bench', () => whole(node, ['bench/run.mjs', '--check'])])
}

const target = cargoEnvironment().CARGO_TARGET_DIR
recallBuild(root, target)
let passed = 0
let failed = 0
const names = []
for (const [name, step] of steps) {
  if (part !== null && part !== name) continue
  const count = await step()
  passed += count.passed
  failed += count.failed
  names.push(...count.names)
  keepBuild(root, target)
}
rmSync(temporary, { recursive: true, force: true })
for (const name of names) console.log(`\nfailed: ${name}`)
console.log(`\n${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
