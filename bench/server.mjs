/**
 * A server under test, ours or a peer: pinned to processors, with what it has used so far.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

/** Processors as `taskset -c` takes them: a server's one, its client's one, and all there are. */
export const SERVER = '0'
export const CLIENT = cpus().length > 1 ? '1' : '0'
export const ALL = cpus().length > 1 ? `0-${cpus().length - 1}` : '0'
/** Clock ticks a second in /proc/<pid>/stat; 100 on every Linux that Node.js runs on. */
const TICKS = 100
/** A server that is asked to stop and does not is killed after this long. */
const STOP_TIMEOUT_MS = 60_000
/** Idle: less than this share of a processor, for longer than stores wait before they write. */
const IDLE_SHARE = 0.05
const IDLE_SECONDS = 8
const IDLE_TIMEOUT_S = 180

/** Starts a program on the named processors. */
export function spawnPinned(processors, command, options) {
  return spawn('taskset', ['-c', processors, ...command.map(String)], options)
}

/** The program's standard output once it has ended well; `what` names it in the error. */
export async function output(what, processors, command) {
  const child = spawnPinned(processors, command, { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.on('data', (chunk) => {
    text += chunk
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${what} ended with ${code}`)
  return text
}

/** User and system seconds of a process or a thread since it started, by its folder in /proc. */
export function processorSeconds(folder) {
  const stat = readFileSync(`${folder}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

export class Server {
  /** @param {import('node:child_process').ChildProcess} child a process that is itself the server */
  constructor(child) {
    this.child = child
  }

  /** User and system seconds of the whole process since it started. */
  cpuSeconds() {
    return processorSeconds(`/proc/${this.child.pid}`)
  }

  #megabytes(name) {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8')
    const kibibytes = new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0
    return Math.round(Number(kibibytes) / 1024)
  }

  /** The most resident memory since it started. */
  peakMegabytes() {
    return this.#megabytes('VmHWM')
  }

  residentMegabytes() {
    return this.#megabytes('VmRSS')
  }

  /** Waits until the server does nothing any more: what it put off is then in `cpuSeconds`. */
  async idle() {
    let quiet = 0
    for (let second = 0; second < IDLE_TIMEOUT_S && quiet < IDLE_SECONDS; second++) {
      const before = this.cpuSeconds()
      await sleep(1000)
      quiet = this.cpuSeconds() - before < IDLE_SHARE ? quiet + 1 : 0
    }
  }

  async stop() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const ended = once(this.child, 'exit')
    this.child.kill('SIGTERM')
    const kill = setTimeout(() => this.child.kill('SIGKILL'), STOP_TIMEOUT_MS)
    await ended
    clearTimeout(kill)
  }
}
