/** Keys that work everywhere but in a field, and those of the view that is open. */

import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'

export interface Shortcut {
  /** As it is pressed: `/`, `g t` (one after the other). */
  keys: string
  does: string
  run(): void
}

/** How long a second key may take. */
const SEQUENCE_MS = 1000

const groups = signal<ReadonlyMap<string, Shortcut[]>>(new Map())
export const shortcutGroups = groups

/** Keys that hold as long as the component is there. */
export function useShortcuts(group: string, shortcuts: Shortcut[]): void {
  useEffect(() => {
    groups.value = new Map(groups.peek()).set(group, shortcuts)
    return () => {
      const rest = new Map(groups.peek())
      rest.delete(group)
      groups.value = rest
    }
  }, [group, ...shortcuts.map((each) => each.keys)])
}

let first = ''
let pressedAt = 0

addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return
  if (isTyping(event.composedPath()[0])) return
  const sequence = event.timeStamp - pressedAt < SEQUENCE_MS ? `${first} ${event.key}` : event.key
  const all = [...groups.value.values()].flat()
  const found =
    all.find((each) => each.keys === sequence) ?? all.find((each) => each.keys === event.key)
  first = event.key
  pressedAt = event.timeStamp
  if (!found || document.querySelector('dialog[open]')) return
  event.preventDefault()
  first = ''
  found.run()
})

function isTyping(target: EventTarget | undefined): boolean {
  if (!(target instanceof HTMLElement)) return false
  return target.isContentEditable || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)
}
