/** A button that copies a text, and says that it did. */

import { useState } from 'preact/hooks'
import { after } from '../state/clock'

const SAID_MS = 1500

export function Copy({ text, what, label }: { text: string; what: string; label?: string }) {
  const [said, say] = useState('')
  const copy = async () => {
    say((await copied(text)) ? 'Copied' : 'Not copied')
    after(SAID_MS, () => say(''))
  }
  return (
    <button type="button" class="copy" aria-label={`Copy ${what}`} onClick={copy}>
      <span role="status">{said || (label ?? 'Copy')}</span>
    </button>
  )
}

/** Copies; the clipboard is there on secure origins alone, so there is an older way, too. */
export async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const area = document.createElement('textarea')
    area.value = text
    area.className = 'unseen'
    document.body.append(area)
    area.select()
    const done = document.execCommand('copy')
    area.remove()
    return done
  }
}
