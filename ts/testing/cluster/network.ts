/**
 * A network of a test's own, which it can cut and make lossy: each node in a network namespace of its
 * own, all of them on a bridge in another one, and rules of nftables where a node hears the others. No
 * interface, address or rule of the machine is touched, and with the processes the namespaces go.
 *
 * ```
 *  the test, in the machine's namespace            127.x.y.1 … 127.x.y.5
 *     │ listening sockets, handed over
 *  relay, in a namespace with the bridge           10.99.0.254
 *     ├── n1's namespace: the node, its rules      10.99.0.1
 *     └── n2's namespace: …                        10.99.0.2
 * ```
 *
 * Clients reach every node at all times: what is cut is what nodes say to each other.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { MAIN, type Program } from '../server.js'

const run = promisify(execFile)
/** `nft` and `ip` are where not every path leads. */
const ENV = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` }
const RELAY = fileURLToPath(new URL('relay.mjs', import.meta.url))
const NET = '10.99.0'
const RELAY_HOST = `${NET}.254`
/** Nodes that a network has room for. */
const MAX_NODES = 200
/** What nodes listen at for clients: OTLP, HTTP, Flight SQL, control. */
const CLIENT_PORTS = [4317, 4318, 4319, 4320, 4321]

/** Tools and rights, from Debian where a tool is missing and this may install it. */
let demanded: Promise<void> | undefined
function demand(): Promise<void> {
  demanded ??= demandOnce()
  return demanded
}

async function demandOnce(): Promise<void> {
  const has = 'command -v nft && command -v ip && command -v unshare && command -v nsenter'
  const get = 'apt-get update -qq && apt-get install -y -qq nftables iproute2 util-linux'
  await shell(has)
    .catch(() => shell(get))
    .then(() => shell(has))
    .catch(lacking('nft, ip, unshare and nsenter', 'apt-get install nftables iproute2 util-linux'))
  const probe = `nft add table inet otlake && ip link add v0 type veth peer name v1`
  await run('unshare', ['--net', 'sh', '-c', probe], { env: ENV }).catch(
    lacking(
      'the right to make network namespaces with veth and nftables in them',
      'run the tests as root; in a container with --privileged, or with --cap-add SYS_ADMIN and --cap-add NET_ADMIN',
    ),
  )
}

const lacking = (what: string, fix: string) => (cause: unknown) => {
  throw new Error(`tests that cut the network need ${what}: ${fix}`, { cause })
}

function shell(script: string) {
  return run('sh', ['-ec', script], { env: ENV })
}

export class Network {
  readonly #net: string
  readonly #relay: ChildProcess
  readonly #holders: ChildProcess[]

  private constructor(net: string, relay: ChildProcess, holders: ChildProcess[]) {
    this.#net = net
    this.#relay = relay
    this.#holders = holders
  }

  /**
   * Opens a network for so many nodes, reached at `net` (three bytes of a loopback address, such as
   * `127.1.1`). Rejects with what the machine lacks.
   */
  static async open(count: number, net: string): Promise<Network> {
    if (count > MAX_NODES) throw new Error(`a network has room for ${MAX_NODES} nodes`)
    await demand()
    const relay = spawn('unshare', ['--net', process.execPath, RELAY], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    // `cat` ends with the pipe, and the namespace with it, however this process ends.
    const hold = ['--net', 'sh', '-c', 'echo here; exec cat > /dev/null']
    const holders = Array.from({ length: count }, () =>
      spawn('unshare', hold, { stdio: ['pipe', 'pipe', 'inherit'] }),
    )
    const network = new Network(net, relay, holders)
    try {
      await Promise.all([
        once(relay, 'message'),
        ...holders.map(({ stdout }) => once(stdout, 'data')),
      ])
      await network.#wire()
      await network.#listen()
    } catch (error) {
      await network.close()
      throw error
    }
    return network
  }

  /** The address of node `index`, from 1 on, to other nodes. */
  host(index: number): string {
    return `${NET}.${index}`
  }

  /** What starts node `index` in its namespace. */
  program(index: number): Program {
    return {
      command: ['nsenter', `--net=${this.#namespace(index)}`, process.execPath, MAIN],
      reach: (address) => address.replace(`${NET}.`, `${this.#net}.`),
    }
  }

  /** Node `to` hears nothing of node `from` any more; the other way all is as it was. */
  async cutOneWay(from: number, to: number): Promise<void> {
    await this.#nft(to, `add rule inet otlake from ip saddr ${this.host(from)} drop`)
  }

  /** Neither hears the other. */
  async cut(a: number, b: number): Promise<void> {
    await Promise.all([this.cutOneWay(a, b), this.cutOneWay(b, a)])
  }

  /** Of what nodes send each other so many packets of a hundred are lost, by chance. */
  async lose(percent: number): Promise<void> {
    const rule = `add rule inet otlake from iif eth0 ip saddr != ${RELAY_HOST} numgen random mod 100 < ${percent} drop`
    await this.#everywhere(rule)
  }

  /** Undoes every cut and loss. */
  async heal(): Promise<void> {
    await this.#everywhere('flush chain inet otlake from')
  }

  /** Packets that the rules have dropped so far, since the last `heal`. */
  async dropped(): Promise<number> {
    const listed = await Promise.all(
      this.#holders.map((_, index) => this.#nft(index + 1, 'list chain inet otlake from')),
    )
    const counted = listed.join('\n').matchAll(/counter packets (\d+)/g)
    return [...counted].reduce((sum, [, packets]) => sum + Number(packets), 0)
  }

  /** Ends the namespaces; nodes should have ended before. */
  async close(): Promise<void> {
    const ends = [this.#relay, ...this.#holders].map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    })
    await Promise.all(ends)
  }

  #namespace(index: number): string {
    return `/proc/${this.#holders[index - 1]?.pid}/ns/net`
  }

  async #wire(): Promise<void> {
    const pid = this.#relay.pid
    const inside = (script: string) =>
      run('nsenter', [`--net=/proc/${pid}/ns/net`, 'sh', '-ec', script], { env: ENV })
    await inside(
      `ip link set lo up; ip link add hub type bridge; ip addr add ${RELAY_HOST}/24 dev hub; ip link set hub up`,
    )
    for (const [at, holder] of this.#holders.entries()) {
      const index = at + 1
      await inside(
        `ip link add v${index} type veth peer name eth0 netns ${holder.pid}; ip link set v${index} master hub up`,
      )
      const script = `ip link set lo up; ip addr add ${this.host(index)}/24 dev eth0; ip link set eth0 up`
      await run('nsenter', [`--net=${this.#namespace(index)}`, 'sh', '-ec', script], { env: ENV })
      await this.#nft(index, 'add table inet otlake')
      await this.#nft(
        index,
        'add chain inet otlake from { type filter hook input priority 0 ; policy accept ; }',
      )
    }
  }

  /** Hands the relay a listening socket for each port of each node. */
  async #listen(): Promise<void> {
    for (const index of this.#holders.keys()) {
      for (const port of CLIENT_PORTS) {
        const server = createServer()
        server.listen(port, `${this.#net}.${index + 1}`)
        await once(server, 'listening')
        await new Promise<void>((resolve, reject) =>
          this.#relay.send({ host: this.host(index + 1), port }, server, (error) =>
            error ? reject(error) : resolve(),
          ),
        )
        server.close()
      }
    }
  }

  async #everywhere(rule: string): Promise<void> {
    await Promise.all(this.#holders.map((_, index) => this.#nft(index + 1, rule)))
  }

  async #nft(index: number, rule: string): Promise<string> {
    const counted = rule.replace(/ drop$/, ' counter drop')
    const inside = `--net=${this.#namespace(index)}`
    const { stdout } = await run('nsenter', [inside, 'nft', ...counted.split(' ')], { env: ENV })
    return stdout
  }
}
