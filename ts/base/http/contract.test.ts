/** Both adapters of the HTTP port keep the same promises. */

import { once } from 'node:events'
import { type Agent, get, request } from 'node:http'
import { connect } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { OtlakeError } from '../errors.js'
import { listenNode } from './node.js'
import type { Handler, HttpServer, Listen } from './port.js'
import { loadUws } from './uws.js'

const uws = await loadUws()
const adapters: { name: string; listen: Listen }[] = [{ name: 'node:http', listen: listenNode }]
if (uws) adapters.push({ name: 'uWebSockets.js', listen: uws })

describe.each(adapters)('$name', ({ listen }) => {
  let server: HttpServer | undefined
  const start = async (handler: Handler) => {
    server = await listen('127.0.0.1:0', handler)
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
    const url = await start(async (_req, res) => {
      await held
      res.head(200, {})
      res.end('finished')
    })
    const slow = fetch(url).then((response) => response.text())
    await new Promise((resolve) => setTimeout(resolve, 50))
    const closing = server?.close(5000)
    server = undefined
    await new Promise((resolve) => setTimeout(resolve, 50))
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
    const ask = (method: string, path: string) => `${method} ${path} HTTP/1.1\r\nhost: x\r\n\r\n`
    for (const path of ['/', '/streamed']) {
      const answers = await exchange(url, ask('HEAD', path), ask('GET', '/'))
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

  test('a taken port is an error with its code', async () => {
    const url = await start(async (_req, res) => res.end())
    const second = listenNode(new URL(url).host, async () => undefined)
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
  socket.setTimeout(300, () => socket.destroy())
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

async function localPort(url: string, agent: Agent): Promise<number | undefined> {
  const sent = request(url, { agent })
  sent.end()
  const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage]
  const port = response.socket.localPort
  response.resume()
  await once(response, 'end')
  return port
}
