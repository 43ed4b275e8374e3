/**
 * The port to the network: datagrams, and streams that carry one question and one answer. Behind
 * it stand `node-transport.ts` and, in tests, the simulated network; `transport.contract.test.ts`
 * holds both to the same promises.
 */

/** Why an exchange brought no answer; `refused`: the machine is there and nobody listens. */
export type ExchangeFailure = 'refused' | 'unreachable' | 'timeout' | 'closed'

export interface TransportHandlers {
  /** A datagram came. */
  onPacket(bytes: Uint8Array): void
  /** A question came over a stream; null closes it without an answer. */
  onRequest(bytes: Uint8Array): Uint8Array | null
}

export interface Transport {
  /** `HOST:PORT` of both, with the port that was bound. */
  readonly address: string
  /** Says who is called with what comes; until then it is dropped. */
  listen(handlers: TransportHandlers): void
  /** Sends a datagram, which may get lost, come twice, or come late. */
  send(to: string, bytes: Uint8Array): void
  /** Asks over a stream; `done` is called once, with the answer or with why there is none. */
  exchange(
    to: string,
    bytes: Uint8Array,
    done: (answer: Uint8Array | ExchangeFailure) => void,
  ): void
  /** Nothing is delivered and no `done` is called after it. */
  close(): Promise<void>
}
