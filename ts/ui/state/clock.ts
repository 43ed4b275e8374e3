/** The browser's clock and timers, in one place. */

/** Milliseconds since 1970. */
export const now = (): number => Date.now()

/** Calls `work` every `ms` until the returned function is called. */
export function every(ms: number, work: () => void): () => void {
  const timer = setInterval(work, ms)
  return () => clearInterval(timer)
}

/** Calls `work` once after `ms` unless the returned function is called first. */
export function after(ms: number, work: () => void): () => void {
  const timer = setTimeout(work, ms)
  return () => clearTimeout(timer)
}
