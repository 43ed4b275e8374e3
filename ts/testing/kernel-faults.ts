/** Has the kernel fail or delay system calls of a running node, with strace. */

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import type { ServerProcess } from './server.js'

const run = promisify(execFile)

/** strace, from Debian where it is missing and this may install it. */
let installed: Promise<unknown> | undefined
function strace(): Promise<unknown> {
  installed ??= run('strace', ['--version']).catch(() =>
    run('sh', ['-c', 'apt-get update -qq && apt-get install -y -qq strace']).catch((thrown) => {
      throw new Error('install strace, which these tests need: apt-get install strace', {
        cause: thrown,
      })
    }),
  )
  return installed
}

/**
 * Injects by a rule of strace, such as `fsync:error=EIO:when=2+3`, until `detach`; where files are
 * named, into calls on those alone.
 */
export async function inject(
  into: ServerProcess,
  rule: string,
  files: string[] = [],
): Promise<ChildProcess> {
  await strace()
  const [calls] = rule.split(':')
  const child = spawn(
    'strace',
    [
      ...['-f', '-p', String(into.child.pid), '-e', `trace=${calls}`, '-e', `inject=${rule}`],
      ...files.flatMap((file) => ['-P', file]),
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  await new Promise<void>((resolve, reject) => {
    let said = ''
    child.stderr?.on('data', (data: Buffer) => {
      said += data.toString()
      if (said.includes('attached')) resolve()
    })
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`strace could not attach: ${said}`)))
  })
  return child
}

/** Ends what `inject` began, if it has not ended yet. */
export async function detach(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGINT')
  await ended
}
