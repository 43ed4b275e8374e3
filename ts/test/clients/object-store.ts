/** An S3 server in a process of its own, behind a relay: clients/s3/server.py, and its faults. */

import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { Relay } from './relay.js'
import { clientFile, python, start } from './toolchain.js'

/** What the server does besides answering; docs of clients/s3/server.py. */
export interface Faults {
  status?: 500 | 503
  share?: number
  lost?: number
  conditional?: boolean
  denied?: boolean
}

const KEYS = { id: 'otlake', secret: 'of the tests' }
export const BUCKET = 'lake'

export class ObjectStore {
  private constructor(
    private readonly child: ChildProcess,
    /** `HOST:PORT` of the server itself. */
    private readonly direct: string,
    /** What the nodes are told. */
    readonly relay: Relay,
  ) {}

  /** Starts one with an empty bucket `lake`. The seed is printed. */
  static async start(seed = 1): Promise<ObjectStore> {
    const args = [clientFile('s3/server.py'), '127.0.0.1', '0', String(seed)]
    const child = start(await python('s3'), args, { env: {}, stdio: ['ignore', 'pipe', 'inherit'] })
    if (child.stdout === null) throw new Error('its port is not piped')
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const { value, done } = await lines.next()
    if (done) throw new Error('the S3 server ended: what it wrote is above')
    const { port } = JSON.parse(value as string) as { port: number }
    process.stderr.write(`S3 server: ${value}\n`)
    const direct = `127.0.0.1:${port}`
    const store = new ObjectStore(child, direct, await Relay.start(direct))
    const made = await fetch(`http://${direct}/${BUCKET}`, { method: 'PUT' })
    if (!made.ok) throw new Error(`no bucket: ${made.status} ${await made.text()}`)
    return store
  }

  /** The settings of a node whose tables are in the bucket. */
  get settings(): Record<string, string> {
    return {
      'storage.s3.endpoint': this.endpoint,
      'storage.s3.allow_http': 'true',
      'storage.s3.access_key_id': KEYS.id,
      'storage.s3.secret_access_key': KEYS.secret,
    }
  }

  /** The AWS variables that say the same to other readers. */
  get variables(): Record<string, string> {
    return {
      AWS_ENDPOINT_URL: this.endpoint,
      AWS_ALLOW_HTTP: 'true',
      AWS_ACCESS_KEY_ID: KEYS.id,
      AWS_SECRET_ACCESS_KEY: KEYS.secret,
      AWS_REGION: 'us-east-1',
    }
  }

  get endpoint(): string {
    return `http://${this.relay.address}`
  }

  /** Replaces all faults; without any it is a good server. */
  async faults(faults: Faults = {}): Promise<void> {
    const body = JSON.stringify(faults)
    await fetch(`http://${this.direct}/_faults`, { method: 'PUT', body })
  }

  /** The keys of the bucket that begin so. */
  async keys(prefix: string): Promise<string[]> {
    const keys: string[] = []
    for (let token = ''; ; ) {
      const search = new URLSearchParams({ 'list-type': '2', prefix })
      if (token !== '') search.set('continuation-token', token)
      const text = await (await fetch(`http://${this.direct}/${BUCKET}?${search}`)).text()
      keys.push(...[...text.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key]) => key as string))
      token = /<NextContinuationToken>([^<]*)</.exec(text)?.[1] ?? ''
      if (token === '') return keys
    }
  }

  /** Uploads that were begun and are not ended. */
  async uploads(): Promise<number> {
    const text = await (await fetch(`http://${this.direct}/${BUCKET}?uploads`)).text()
    return [...text.matchAll(/<UploadId>/g)].length
  }

  /** It keeps its connections and does nothing. */
  pause(): void {
    this.child.kill('SIGSTOP')
  }

  resume(): void {
    this.child.kill('SIGCONT')
  }

  async end(): Promise<void> {
    this.child.kill('SIGKILL')
    await this.relay.close()
  }
}
