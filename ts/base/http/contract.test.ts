/** Both adapters of the HTTP port keep the same promises. */

import { once } from 'node:events'
import { type Agent, get, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { OtlakeError } from '../errors.js'
import { listenNode } from './node.js'
import { type Handler, HTTP_LIMITS, type HttpLimits, type HttpServer, type Listen } from './port.js'
import { loadUws } from './uws.js'

/** How long anything is waited for, on a busy machine too. */
const PATIENCE = { timeout: 10_000, interval: 20 }

const uws = await loadUws()
const adapters: { name: string; listen: Listen }[] = [{ name: 'node:http', listen: listenNode }]
if (uws) adapters.push({ name: 'uWebSockets.js', listen: uws })

// uWebSockets.js takes ten seconds and more to close what stands still.
describe.each(adapters)('$name', { timeout: 40_000 }, ({ name, listen }) => {
  let server: HttpServer | undefined
  /** What came over connections that began HTTP/2. */
  let handed: string[] = []
  const onHttp2 = (socket: Socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => handed.push(String(chunk)))
    socket.resume()
  }
  const start = async (handler: Handler, limits: Partial<HttpLimits> = {}) => {
    handed = []
    server = await listen('127.0.0.1:0', handler, { ...HTTP_LIMITS, ...limits }, onHttp2)
    return `http://${server.address}`
  }

  afterEach(async () => {
    await server?.close(100)
    server = undefined
  })

  test('gives method, path, query, headers and body, and answers with status and headers', async () => {
    const url = await start(async (req, res) => {
      const body = await req.body(1000)
      res.head(201, { 'content-type': 'text/plain', 'x-back': req.header('X-Sent') ?? '' })
      res.end(`${req.method} ${req.path} ${req.query.get('a')} ${body}`)
    })
    const response = await fetch(`${url}/some/path?a=b%20c`, {
      method: 'POST',
      headers: { 'x-sent': 'yes' },
      body: 'hello',
    })
    expect(response.status).toBe(201)
    expect(response.headers.get('x-back')).toBe('yes')
    expect(await response.text()).toBe('POST /some/path b c hello')
  })

  test('refuses a body beyond the limit with its code', async () => {
    const url = await start(async (req, res) => {
      try {
        await req.body(10)
      } catch (error) {
        res.head(413, {})
        res.end(OtlakeError.from(error).code)
      }
    })
    const response = await fetch(url, { method: 'POST', body: 'x'.repeat(100) })
    expect([response.status, await response.text()]).toEqual([413, 'HTTP_TOO_LARGE'])
  })

  test('streams chunks, waiting for a slow reader', async () => {
    const chunk = Buffer.alloc(256 * 1024, 7)
    let written = 0
    const url = await start(async (_req, res) => {
      res.head(200, {})
      for (; written < 100; written++) await res.write(chunk)
      res.end()
    })
    const response = await new Promise<import('node:http').IncomingMessage>((resolve) =>
      get(url, resolve),
    )
    response.pause()
    await new Promise((resolve) => setTimeout(resolve, 200))
    // 25 MB do not fit into the sockets' buffers: the writer must be waiting.
    expect(written).toBeLessThan(100)
    let length = 0
    for await (const part of response) length += (part as Buffer).length
    expect(length).toBe(100 * chunk.length)
  })

  test('tells when the client goes away', async () => {
    let gone: (() => void) | undefined
    const left = new Promise<void>((resolve) => {
      gone = resolve
    })
    const url = await start(async (_req, res) => {
      res.head(200, {})
      await res.write(Buffer.from('first'))
      res.gone.addEventListener('abort', () => gone?.())
    })
    const controller = new AbortController()
    const response = await fetch(url, { signal: controller.signal })
    await response.body?.getReader().read()
    controller.abort()
    await left
  })

  test('an aborted answer does not look whole', async () => {
    const url = await start(async (_req, res) => {
      res.head(200, {})
      await res.write(Buffer.from('part'))
      res.abort()
    })
    await expect(fetch(url).then((response) => response.text())).rejects.toThrow()
  })

  test('keeps connections alive', async () => {
    const url = await start(async (_req, res) => {
      res.head(200, {})
      res.end('ok')
    })
    const { Agent } = await import('node:http')
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const ports = new Set<number | undefined>()
    for (let number = 0; number < 3; number++) ports.add(await localPort(url, agent))
    agent.destroy()
    expect(ports.size).toBe(1)
  })

  test('close lets what is in flight finish and takes nothing new', async () => {
    let proceed: (() => void) | undefined
    const held = new Promise<void>((resolve) => {
      proceed = resolve
    })
    let isInFlight = false
    const url = await start(async (_req, res) => {
      isInFlight = true
      await held
      res.head(200, {})
      res.end('finished')
    })
    const slow = fetch(url).then((response) => response.text())
    await vi.waitFor(() => expect(isInFlight).toBe(true), PATIENCE)
    const closing = server?.close(60_000)
    server = undefined
    const { hostname, port } = new URL(url)
    const socket = connect(Number(port), hostname)
    const [error] = await once(socket, 'error')
    expect((error as NodeJS.ErrnoException).code).toBe('ECONNREFUSED')
    proceed?.()
    expect(await slow).toBe('finished')
    await closing
  })

  test.each(['//', '/\\\\', '/%E0%A4%A', 'http://[', '/a?%'])(
    'the target %s reaches the handler and the server goes on',
    async (target) => {
      const url = await start(async (req, res) => {
        res.head(200, {})
        res.end(`<${req.path.length > 0}>`)
      })
      await exchange(url, `GET ${target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`)
      expect(await (await fetch(url)).text()).toBe('<true>')
    },
  )

  test('an answer to HEAD has no body, so the next answer is read right', async () => {
    const url = await start(async (req, res) => {
      res.head(200, { 'content-type': 'text/plain' })
      if (req.path === '/streamed') await res.write(Buffer.from('not for HEAD'))
      res.end(req.path === '/streamed' ? undefined : `body of ${req.method}`)
    })
    const ask = (method: string, path: string, more = '') =>
      `${method} ${path} HTTP/1.1\r\nhost: x\r\n${more}\r\n`
    for (const path of ['/', '/streamed']) {
      const last = ask('GET', '/', 'connection: close\r\n')
      const answers = await exchange(url, ask('HEAD', path), last)
      expect(answers.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(2)
      expect(answers).toContain('body of GET')
      expect(answers).not.toMatch(/body of HEAD|not for HEAD/)
    }
  })

  test('a body that nobody reads is not gathered without end', async () => {
    const url = await start(async (req, res) => {
      await new Promise((resolve) => setTimeout(resolve, 300))
      const read = await req.body(4 * 1024 * 1024).then(
        (body) => body.length,
        (error) => OtlakeError.from(error).code,
      )
      res.head(200, {})
      res.end(String(read))
    })
    const sent = await fetch(url, { method: 'POST', body: Buffer.alloc(8 * 1024 * 1024) })
    expect(await sent.text()).toBe('HTTP_TOO_LARGE')
  })

  test('I5: connections beyond the limit are closed, and their places are given again', async () => {
    const url = await start(
      async (_req, res) => {
        res.head(200, {})
        res.end('ok')
      },
      { connections: 3 },
    )
    const kept = await Promise.all([1, 2, 3].map(() => opened(url)))
    const beyond = await opened(url)
    await closed(beyond)
    expect(kept.every((socket) => !socket.destroyed)).toBe(true)
    kept[0]?.destroy()
    await vi.waitFor(async () => expect(await (await fetch(url)).text()).toBe('ok'), PATIENCE)
    for (const socket of kept) socket.destroy()
  })

  test('I5: a connection that does not come to the end of a head is closed', async () => {
    const url = await start(async (_req, res) => res.end(), { headersMs: 300 })
    const late = await Promise.all(
      ['', 'GE', 'GET / HTTP/1.1\r\nho'].map(async (first) => {
        const socket = await opened(url)
        socket.write(first)
        return socket
      }),
    )
    await Promise.all(late.map(closed))
  })

  test.each(['written', 'ended'])(
    'I5: a client that takes nothing of what is %s is cut off',
    async (how) => {
      const chunk = Buffer.alloc(32 * 1024 * 1024)
      let gone: (() => void) | undefined
      const left = new Promise<void>((resolve) => {
        gone = resolve
      })
      const url = await start(
        async (_req, res) => {
          res.gone.addEventListener('abort', () => gone?.())
          res.head(200, {})
          if (how === 'written') await res.write(chunk)
          else res.end(chunk)
        },
        { stallMs: 300 },
      )
      const socket = await opened(url)
      socket.pause()
      socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
      await left
      socket.destroy()
    },
  )

  test('a slow client that goes on reading gets all of it', async () => {
    const chunk = Buffer.alloc(16 * 1024 * 1024)
    const url = await start(
      async (_req, res) => {
        res.head(200, {})
        res.end(chunk)
      },
      { stallMs: 3000 },
    )
    const [response] = (await once(get(url), 'response')) as [import('node:http').IncomingMessage]
    let length = 0
    let pauses = 0
    for await (const part of response) {
      length += (part as Buffer).length
      if (length > (pauses + 1) * 4 * 1024 * 1024) {
        pauses += 1
        await new Promise((resolve) => setTimeout(resolve, 1500))
      }
    }
    expect([length, pauses]).toEqual([chunk.length, 3])
  })

  test.runIf(name === 'node:http')('what begins HTTP/2 is handed over whole', async () => {
    const url = await start(async (_req, res) => {
      res.head(200, {})
      res.end('one')
    })
    const begin = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore'
    for (const parts of [[begin], ['PR', 'I * HTTP', '/2.0\r\n\r\nSM\r\n\r\nmore']]) {
      handed = []
      const socket = await opened(url)
      for (const part of parts) {
        socket.write(part)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      await vi.waitFor(() => expect(handed.join('')).toBe(begin), PATIENCE)
      socket.destroy()
    }
    // Methods that begin alike are HTTP/1.1, also when their first letters come alone.
    handed = []
    const socket = await opened(url)
    let received = ''
    socket.on('data', (chunk) => {
      received += chunk
    })
    for (const part of ['PR', 'OPFIND / HTTP/1.1\r\nhost: x\r\n\r\n']) {
      socket.write(part)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    await vi.waitFor(() => expect(received).toContain('one'), PATIENCE)
    expect(handed).toEqual([])
    socket.destroy()
  })

  test.runIf(name === 'node:http')(
    'a connection that was handed over ends with the server',
    async () => {
      const url = await start(async (_req, res) => res.end())
      const socket = await opened(url)
      socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
      await vi.waitFor(() => expect(handed.join('')).toContain('SM'), PATIENCE)
      const closing = server?.close(100)
      server = undefined
      await closed(socket)
      await closing
    },
  )

  test('a taken port is an error with its code', async () => {
    const url = await start(async (_req, res) => res.end())
    const second = listenNode(new URL(url).host, async () => undefined)
    await expect(second).rejects.toMatchObject({ code: 'NODE_PORT_TAKEN' })
  })

  test('a port that was asked for by number is not shared with a second server', async () => {
    const { host } = new URL(await start(async (_req, res) => res.end()))
    await server?.close(100)
    server = await listen(host, async (_req, res) => res.end())
    const second = listen(host, async () => undefined)
    await expect(second).rejects.toMatchObject({ code: 'NODE_PORT_TAKEN' })
  })
})

/**
 * Sends each text on one connection, the next when something came back for the one before, and
 * reads until the server closes or nothing more comes.
 */
async function exchange(url: string, ...texts: string[]): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.setTimeout(PATIENCE.timeout, () => socket.destroy())
  socket.on('error', () => undefined)
  let received = ''
  const next = () => socket.write(texts.shift() ?? '')
  socket.on('data', (chunk) => {
    received += chunk
    if (texts.length > 0) next()
  })
  next()
  await once(socket, 'close')
  return received
}

async function opened(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

/** Resolves when the server has closed it. */
async function closed(socket: Socket): Promise<void> {
  if (socket.destroyed) return
  const ended = once(socket, 'close')
  socket.resume()
  await ended
}

async function localPort(url: string, agent: Agent): Promise<number | undefined> {
  const sent = request(url, { agent })
  sent.end()
  const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage]
  const port = response.socket.localPort
  response.resume()
  await once(response, 'end')
  return port
}
