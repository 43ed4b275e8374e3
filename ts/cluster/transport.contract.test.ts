/** Both adapters of the transport's port keep the same promises. */

import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import * as grpc from '@grpc/grpc-js'
import { afterEach, describe, expect, test } from 'vitest'
import { controlService } from '../node/control.js'
import { SimNetwork } from '../testing/cluster/sim-network.js'
import { SeededRandom } from '../testing/seeded-random.js'
import { VirtualTime } from '../testing/virtual-time.js'
import { openNodeTransport } from './node-transport.js'
import { PACKET_BYTES, STREAM_BYTES } from './settings.js'
import type { ExchangeFailure, Transport, TransportHandlers } from './transport.js'

interface Adapter {
  name: string
  open(index: number): Promise<Transport>
  /** Resolves when `isDone`, letting time pass. */
  until(isDone: () => boolean): Promise<void>
}

function simulated(): Adapter {
  const time = new VirtualTime()
  const network = new SimNetwork(time, new SeededRandom(1))
  return {
    name: 'simulated',
    open: async (index) => network.open(`10.0.0.${index}:1`),
    until: async (isDone) => {
      for (let step = 0; step < 1000 && !isDone(); step++) time.run(100)
      expect(isDone()).toBe(true)
    },
  }
}

const real: Adapter = {
  name: 'UDP and TCP',
  open: (index) => openNodeTransport(`127.0.0.${index}:0`),
  until: async (isDone) => {
    await expect.poll(isDone, { timeout: 15_000, interval: 5 }).toBe(true)
  },
}

describe.each([simulated(), real])('$name', { timeout: 30_000 }, ({ open, until }) => {
  let opened: Transport[] = []

  afterEach(async () => {
    await Promise.all(opened.map((transport) => transport.close()))
    opened = []
  })

  async function node(index: number, handlers: Partial<TransportHandlers> = {}) {
    const transport = await open(index)
    opened.push(transport)
    transport.listen({ onPacket: () => undefined, onRequest: () => null, ...handlers })
    return transport
  }

  async function ask(from: Transport, to: string, bytes: Uint8Array) {
    const answers: (Uint8Array | ExchangeFailure)[] = []
    from.exchange(to, bytes, (answer) => answers.push(answer))
    await until(() => answers.length > 0)
    expect(answers).toHaveLength(1)
    const [answer] = answers
    return typeof answer === 'string' ? answer : [...(answer as Uint8Array)]
  }

  test('brings a datagram of the largest size as it was', async () => {
    const received: Uint8Array[] = []
    const to = await node(2, { onPacket: (bytes) => received.push(bytes) })
    const from = await node(3)
    const sent = Uint8Array.from({ length: PACKET_BYTES }, (_, index) => index & 0xff)
    from.send(to.address, sent)
    await until(() => received.length > 0)
    expect(Buffer.compare(received[0] as Uint8Array, sent)).toBe(0)
  })

  test('brings a question and its answer, empty ones and large ones', async () => {
    const to = await node(2, { onRequest: (bytes) => bytes.toReversed() })
    const from = await node(3)
    expect(await ask(from, to.address, Uint8Array.of(1, 2, 3))).toEqual([3, 2, 1])
    expect(await ask(from, to.address, Uint8Array.of())).toEqual([])
    const large = new Uint8Array(1_000_000).fill(7)
    expect(await ask(from, to.address, large)).toHaveLength(large.length)
  })

  test('keeps questions that are asked at once apart', async () => {
    const to = await node(2, { onRequest: (bytes) => bytes })
    const from = await node(3)
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => ask(from, to.address, Uint8Array.of(index))),
    )
    expect(answers).toEqual(Array.from({ length: 20 }, (_, index) => [index]))
  })

  test('a question that is not answered ends as closed', async () => {
    const to = await node(2)
    const from = await node(3)
    expect(await ask(from, to.address, Uint8Array.of(1))).toBe('closed')
  })

  test('where nobody listens a question is refused, and a datagram lost', async () => {
    const gone = await node(2)
    await gone.close()
    const from = await node(3)
    from.send(gone.address, Uint8Array.of(1))
    expect(await ask(from, gone.address, Uint8Array.of(1))).toBe('refused')
  })

  test('after its end nothing is delivered, asked or answered', async () => {
    const received: string[] = []
    const to = await node(2, {
      onPacket: () => received.push('packet'),
      onRequest: (bytes) => bytes,
    })
    const from = await node(3)
    from.exchange(to.address, Uint8Array.of(1), () => received.push('answer'))
    await from.close()
    await from.close()
    from.send(to.address, Uint8Array.of(1))
    from.exchange(to.address, Uint8Array.of(1), () => received.push('answer'))
    const other = await node(4)
    expect(await ask(other, to.address, Uint8Array.of(5))).toEqual([5])
    expect(received).toEqual([])
  })
})

test('a stream that announces more than a message may have is ended', async () => {
  const transport = await openNodeTransport('127.0.0.2:0')
  try {
    transport.listen({ onPacket: () => undefined, onRequest: (bytes) => bytes })
    const [host, port] = transport.address.split(':')
    const socket = connect(Number(port), host)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(STREAM_BYTES + 1)
    socket.on('error', () => undefined)
    socket.write(length)
    await once(socket, 'close')
  } finally {
    await transport.close()
  }
})

test('HTTP/2 and gossip share a port, whatever comes in pieces', { timeout: 30_000 }, async () => {
  const server = new grpc.Server()
  const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure())
  const Control = controlService()
  server.addService(Control.service, {
    Status: (_call: unknown, done: grpc.sendUnaryData<object>) => done(null, { version: '9' }),
  })
  let handedOver = 0
  const transport = await openNodeTransport('127.0.0.2:0', {
    onHttp2: (socket) => {
      handedOver++
      injector.injectConnection(socket)
    },
  })
  // Between the two, one that hands over a byte at a time.
  const slow = createServer((socket) => {
    const [host, port] = transport.address.split(':')
    const there = connect({ host: host ?? '', port: Number(port), noDelay: true })
    let sent = Promise.resolve()
    let bytes = 0
    socket.on('data', (chunk) => {
      for (const byte of chunk) {
        sent = sent.then(async () => {
          there.write(Uint8Array.of(byte))
          if (bytes++ < 8) await new Promise((resolve) => setTimeout(resolve, 5))
        })
      }
    })
    there.pipe(socket)
    socket.on('close', () => there.destroy())
    for (const end of [socket, there]) end.on('error', () => socket.destroy())
  })
  slow.listen(0, '127.0.0.2')
  await once(slow, 'listening')
  const piecemeal = `127.0.0.2:${(slow.address() as { port: number }).port}`
  const other = await openNodeTransport('127.0.0.3:0')
  try {
    transport.listen({ onPacket: () => undefined, onRequest: (bytes) => bytes.toReversed() })
    for (const address of [transport.address, piecemeal]) {
      const client = new Control(address, grpc.credentials.createInsecure())
      const call = client.Status as (
        request: object,
        done: (error: Error | null, answer: { version: string }) => void,
      ) => void
      const ask = () =>
        new Promise<string>((resolve, reject) =>
          call.call(client, {}, (error, answer) =>
            error ? reject(error) : resolve(answer.version),
          ),
        )
      const asked = Promise.all(Array.from({ length: 5 }, ask))
      const answer = await new Promise((resolve) =>
        other.exchange(address, Uint8Array.of(1, 2, 3), resolve),
      )
      expect([...(answer as Uint8Array)]).toEqual([3, 2, 1])
      expect(await asked).toEqual(['9', '9', '9', '9', '9'])
      client.close()
    }
    expect(handedOver).toBe(2)
  } finally {
    server.forceShutdown()
    await transport.close()
    await other.close()
    slow.close()
  }
})

test('without anybody for it, HTTP/2 is ended', async () => {
  const transport = await openNodeTransport('127.0.0.2:0')
  transport.listen({ onPacket: () => undefined, onRequest: (bytes) => bytes })
  const [host, port] = transport.address.split(':')
  const socket = connect(Number(port), host)
  socket.on('error', () => undefined)
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  await once(socket, 'close')
  await transport.close()
})

test('what is told to others is made of the port that was bound', async () => {
  const transport = await openNodeTransport('127.0.0.2:0', {
    advertise: (port) => `10.0.0.7:${port}`,
  })
  expect(transport.address).toMatch(/^10\.0\.0\.7:[1-9]\d+$/)
  await transport.close()
})

test('a port that is taken is told', async () => {
  const first = await openNodeTransport('127.0.0.2:0')
  await expect(openNodeTransport(first.address)).rejects.toMatchObject({ code: 'NODE_PORT_TAKEN' })
  await first.close()
})
