/**
 * Queries that the page waits for, and how far the node is with them. Each goes out with an id of the page's
 * own, by which the node tells of it.
 */

import { signal } from '@preact/signals'
import { every, now } from '../state/clock'
import { ask, askJson } from './http'

/** A query that runs, as `GET /api/v1/queries` has it. */
export interface Progress {
  id: string | null
  state: 'waiting' | 'planning' | 'reading' | 'shared'
  elapsedMs: number
  rowsRead: number
  rowsToRead: number
  /** 0 to 1; null where the node does not know. */
  share: number | null
}

/** How often the node is asked, and from when on: most queries are done before that. */
const ASK_MS = 400
const SLOW_MS = 800
const ID_BYTES = 12

/** An id that nobody else has. */
export function queryId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(ID_BYTES))
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

export const withId = (id: string): Record<string, string> => ({ 'otlake-query-id': id })

/** Tells how far a query is, once it is slow, until the returned function is called. */
export function follow(id: string, tell: (progress: Progress) => void): () => void {
  const began = now()
  let [isAsking, isOver] = [false, false]
  const stop = every(ASK_MS, () => {
    if (isAsking || now() - began < SLOW_MS) return
    isAsking = true
    askJson<{ queries: Progress[] }>(`/api/v1/queries?id=${id}`)
      .then(({ queries }) => {
        if (!isOver && queries[0]) tell(queries[0])
      })
      // How far it is, is not worth an error: the query itself tells of its own.
      .catch(() => undefined)
      .finally(() => {
        isAsking = false
      })
  })
  return () => {
    isOver = true
    stop()
  }
}

/** By their ids: what was told last of the slow ones among those that a view waits for. */
const slow = signal<ReadonlyMap<string, Progress>>(new Map())

/** The one of them that has the longest to go; null where none is slow. */
export function slowest(): Progress | null {
  const [first] = [...slow.value.values()].sort((a, b) => (a.share ?? 0) - (b.share ?? 0))
  return first ?? null
}

/** Asks the node a query; while it is slow, `slowest` tells of it. */
export async function askQuery(path: string, init: RequestInit = {}): Promise<Response> {
  const id = queryId()
  const stop = follow(id, (progress) => {
    slow.value = new Map(slow.peek()).set(id, progress)
  })
  try {
    const headers = new Headers(init.headers)
    for (const [name, value] of Object.entries(withId(id))) headers.set(name, value)
    return await ask(path, { ...init, headers })
  } finally {
    stop()
    if (slow.peek().has(id)) {
      const rest = new Map(slow.peek())
      rest.delete(id)
      slow.value = rest
    }
  }
}

export async function queryJson<T>(path: string, init: RequestInit = {}): Promise<T> {
  return (await (await askQuery(path, init)).json()) as T
}
