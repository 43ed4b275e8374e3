/** Loading for components: what was loaded last stays while it is loaded again. */

import { useEffect, useRef, useState } from 'preact/hooks'
import { tick } from '../state/page'
import { isAbort } from './http'

export interface Loaded<T> {
  /** What was loaded last; undefined before the first time, and after a failure. */
  data: T | undefined
  error: Error | undefined
  isLoading: boolean
}

/**
 * Loads when `keys` change, and when the page loads again. A load that another follows is given up. With
 * `null` for `load` nothing is loaded.
 */
export function useLoad<T>(
  load: ((signal: AbortSignal) => Promise<T>) | null,
  keys: unknown[],
): Loaded<T> {
  const [state, setState] = useState<Loaded<T>>({
    data: undefined,
    error: undefined,
    isLoading: load !== null,
  })
  const latest = useRef(0)
  const round = tick.value
  useEffect(() => {
    latest.current += 1
    const mine = latest.current
    if (load === null) {
      setState({ data: undefined, error: undefined, isLoading: false })
      return
    }
    const controller = new AbortController()
    setState((before) => ({ ...before, isLoading: true }))
    load(controller.signal).then(
      (data) => {
        if (mine === latest.current) setState({ data, error: undefined, isLoading: false })
      },
      (thrown: unknown) => {
        if (mine !== latest.current || isAbort(thrown)) return
        const error = thrown instanceof Error ? thrown : new Error(String(thrown))
        setState({ data: undefined, error, isLoading: false })
      },
    )
    return () => controller.abort()
  }, [...keys, round, load === null])
  return state
}
