/**
 * How many copies records have and how many of them an acknowledgement needs: by signal, and for
 * tenants that ask for something else. Rust takes whole quorums, so what an entry of a tenant leaves
 * out is filled in here.
 */

import { z } from 'zod'
import { SIGNALS, type Signal } from '../cluster/ring.js'
import type { ClusterQuorum, SignalQuorum, TenantQuorum } from '../native/cluster.js'
import { count, invalid, json, type Setting } from './setting-schemas.js'

/** Copies of a record, its owner's included. */
const MAX_COPIES = 7
/** Entries of tenants; the native module takes as many quorums of one signal each. */
const MAX_ENTRIES = 1024
const copies = count.max(MAX_COPIES)
const TENANTS = 'cluster.tenants'

/** What each signal is replicated to, as the issue of acknowledgements has it. */
const QUORUM: ClusterQuorum = {
  spans: { copies: 3, acks: 2, timeoutMs: 5000 },
  metrics: { copies: 2, acks: 2, timeoutMs: 3000 },
  logs: { copies: 2, acks: 1, timeoutMs: 1000 },
}

const entry = z
  .strictObject({
    tenant: z.string().min(1).max(64),
    signal: z.enum(SIGNALS).optional(),
    copies: copies.optional(),
    acks: copies.optional(),
    timeout_ms: count.optional(),
  })
  .refine(
    (given) => [given.copies, given.acks, given.timeout_ms].some((value) => value !== undefined),
    'changes nothing: give it `copies`, `acks` or `timeout_ms`, or leave it out',
  )

type Entry = z.infer<typeof entry>

const ofSignals = (
  path: (signal: Signal) => string,
  setting: (signal: Signal) => Setting,
): Record<string, Setting> =>
  Object.fromEntries(SIGNALS.map((signal) => [path(signal), setting(signal)]))

export const QUORUM_SETTINGS: Record<string, Setting> = {
  ...ofSignals(
    (signal) => `cluster.copies.${signal}`,
    (signal) => ({
      about: `Copies of ${signal} before they are in files, the owner's included`,
      schema: copies,
      default: QUORUM[signal].copies,
    }),
  ),
  ...ofSignals(
    (signal) => `cluster.acks.${signal}`,
    (signal) => ({
      about: `Copies of ${signal} on stable storage before a success is sent`,
      schema: copies,
      default: QUORUM[signal].acks,
    }),
  ),
  ...ofSignals(
    (signal) => `cluster.timeouts.${signal}_ms`,
    (signal) => ({
      about: `How long ${signal} wait for their copies before the client is told to retry`,
      schema: count,
      default: QUORUM[signal].timeoutMs,
    }),
  ),
  [TENANTS]: {
    about:
      'What overrides these for a tenant, each as `tenant`, perhaps `signal`, and `copies`, `acks` or `timeout_ms`',
    schema: json(z.array(entry).max(MAX_ENTRIES)),
    default: [],
  },
}

/** What the settings come to. Throws `CONFIG_INVALID` with the key and the fix. */
export function quorumConfig(get: <T>(path: string) => T): {
  quorum: ClusterQuorum
  tenants: TenantQuorum[]
} {
  const of = (signal: Signal): SignalQuorum => {
    const general = {
      copies: get<number>(`cluster.copies.${signal}`),
      acks: get<number>(`cluster.acks.${signal}`),
      timeoutMs: get<number>(`cluster.timeouts.${signal}_ms`),
    }
    if (general.acks > general.copies) {
      throw invalid(
        `cluster.acks.${signal}`,
        `there are only ${general.copies} copies; lower it, or raise \`cluster.copies.${signal}\``,
      )
    }
    return general
  }
  const quorum = { spans: of('spans'), metrics: of('metrics'), logs: of('logs') }
  return { quorum, tenants: tenantQuorums(get<Entry[]>(TENANTS), quorum) }
}

/**
 * Each tenant's quorum of each signal that its entries name. An entry of one signal comes before one of
 * all, and what neither says is that of the signal.
 */
function tenantQuorums(entries: Entry[], general: ClusterQuorum): TenantQuorum[] {
  const found = new Map<string, Entry>()
  for (const [index, given] of entries.entries()) {
    const key = `${given.signal ?? ''} ${given.tenant}`
    if (found.has(key)) {
      const of = given.signal === undefined ? 'all signals' : given.signal
      throw invalid(
        `${TENANTS}.${index}`,
        `tenant \`${given.tenant}\` has another entry of ${of}; make one of the two`,
      )
    }
    found.set(key, given)
  }
  const tenants = [...new Set(entries.map(({ tenant }) => tenant))]
  return tenants.flatMap((tenant) =>
    SIGNALS.flatMap((signal) => {
      const said = [found.get(`${signal} ${tenant}`), found.get(` ${tenant}`)].filter(
        (given) => given !== undefined,
      )
      if (said.length === 0) return []
      const first = <T>(value: (given: Entry) => T | undefined, otherwise: T): T =>
        said.map(value).find((value) => value !== undefined) ?? otherwise
      const own = {
        tenant,
        signal,
        copies: first(({ copies }) => copies, general[signal].copies),
        acks: first(({ acks }) => acks, general[signal].acks),
        timeoutMs: first(({ timeout_ms }) => timeout_ms, general[signal].timeoutMs),
      }
      if (own.acks > own.copies) {
        throw invalid(
          TENANTS,
          `${signal} of tenant \`${tenant}\` have ${own.copies} copies and need ${own.acks}; give it more \`copies\`, or fewer \`acks\``,
        )
      }
      return [own]
    }),
  )
}

/** By signal, the most copies, acknowledgements and time that anyone asks for. */
export function mostAsked(quorum: ClusterQuorum, tenants: readonly TenantQuorum[]): ClusterQuorum {
  const of = (signal: Signal): SignalQuorum => {
    const all = [quorum[signal], ...tenants.filter((own) => own.signal === signal)]
    return {
      copies: Math.max(...all.map(({ copies }) => copies)),
      acks: Math.max(...all.map(({ acks }) => acks)),
      timeoutMs: Math.max(...all.map(({ timeoutMs }) => timeoutMs)),
    }
  }
  return { spans: of('spans'), metrics: of('metrics'), logs: of('logs') }
}
