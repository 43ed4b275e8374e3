/** Clients that send numbered requests while their node is killed with -9, round after round. */

import type { ServerProcess } from './server.js'

const CLIENTS = 4

export interface KillRounds {
  rounds: number
  /** A round is over after so many acknowledgements, and up to 59 more. */
  least: number
  /** Each request whose number is a multiple is sent again although it was answered. */
  resendEvery: number
  start(): Promise<ServerProcess>
  /** Whether the request was acknowledged. */
  send(running: ServerProcess, number: number): Promise<boolean>
}

/** The first number that was not sent, and those that got no answer: they are to be sent again. */
export interface Unsettled {
  next: number
  unanswered: number[]
}

/** Starts a node in each round and kills it under load; an unanswered request is sent again in the next. */
export async function killRounds(load: KillRounds): Promise<Unsettled> {
  const acknowledged = new Set<number>()
  const unanswered: number[] = []
  let next = 0
  for (let round = 0; round < load.rounds; round++) {
    const running = await load.start()
    const enough = acknowledged.size + load.least + ((round * 37) % 60)
    let alive = true
    const clients = Array.from({ length: CLIENTS }, async () => {
      while (alive) {
        const number = unanswered.shift() ?? next++
        if (!(await load.send(running, number))) {
          unanswered.push(number)
          alive = false
          continue
        }
        if (number % load.resendEvery === 0) await load.send(running, number)
        acknowledged.add(number)
        if (acknowledged.size === enough) await running.kill()
      }
    })
    await Promise.all(clients)
  }
  return { next, unanswered }
}
