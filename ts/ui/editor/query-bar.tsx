/** A field for a query: a plain one until the editor has come. */

import { useEffect, useRef, useState } from 'preact/hooks'
import { after } from '../state/clock'
import type { Editor, EditorOptions } from './base'

type Open = (options: Omit<EditorOptions, 'language'>) => Editor

export interface QueryBarProps {
  text: string
  label: string
  hint: string
  isLine: boolean
  load: () => Promise<Open>
  onRun: (text: string) => void
  onChange?: (text: string) => void
  /** Given a function that puts the caret into the field. */
  onReady?: (focus: () => void) => void
}

/**
 * The editor is large, and takes a slow processor a third of a second to begin with: what a person looks at
 * first comes before it, and the plain field takes what is typed meanwhile. A bar of one line waits for what
 * is below it, or until somebody goes to it.
 */
const BAR_MS = 1000
const IDLE_MS = 1500
const idle = () =>
  new Promise<void>((resolve) => {
    if ('requestIdleCallback' in window) requestIdleCallback(() => resolve(), { timeout: IDLE_MS })
    else resolve()
  })

export function QueryBar(props: QueryBarProps) {
  const host = useRef<HTMLDivElement>(null)
  const field = useRef<HTMLTextAreaElement>(null)
  const editor = useRef<Editor | null>(null)
  const [typed, type] = useState(props.text)
  const [isOpen, open] = useState(false)
  /** Has the editor come now. */
  const hurry = useRef<() => void>(() => undefined)
  const latest = useRef({ ...props, typed })
  latest.current = { ...props, typed }

  useEffect(() => {
    type(props.text)
    editor.current?.set(props.text)
  }, [props.text])

  useEffect(() => {
    let isGone = false
    props.onReady?.(() => (editor.current ? editor.current.focus() : field.current?.focus()))
    const wanted = new Promise<void>((resolve) => {
      hurry.current = resolve
      if (!props.isLine) resolve()
    })
    const stop = after(BAR_MS, () => hurry.current())
    wanted
      .then(idle)
      .then(props.load)
      .then(
        (make) => {
          if (isGone || !host.current) return
          const hadFocus = document.activeElement === field.current
          const caret = field.current?.selectionStart ?? undefined
          editor.current = make({
            host: host.current,
            text: field.current?.value ?? latest.current.typed,
            label: props.label,
            hint: props.hint,
            isLine: props.isLine,
            onChange: (text) => {
              type(text)
              latest.current.onChange?.(text)
            },
            onRun: () => latest.current.onRun(editor.current?.text() ?? ''),
          })
          open(true)
          if (hadFocus) editor.current.focus(caret)
        },
        // The plain field goes on.
        () => undefined,
      )
    return () => {
      isGone = true
      stop()
      editor.current?.destroy()
      editor.current = null
    }
  }, [])

  const keys = (event: KeyboardEvent) => {
    if (event.key !== 'Enter' || !(props.isLine || event.ctrlKey || event.metaKey)) return
    event.preventDefault()
    props.onRun(typed)
  }
  return (
    <div class={props.isLine ? 'query is-line' : 'query'}>
      <div ref={host} class="editor" hidden={!isOpen} />
      {!isOpen && (
        <textarea
          ref={field}
          rows={props.isLine ? 1 : 6}
          aria-label={props.label}
          placeholder={props.hint}
          spellcheck={false}
          value={typed}
          onFocus={() => hurry.current()}
          onPointerEnter={() => hurry.current()}
          onInput={(event) => {
            type(event.currentTarget.value)
            props.onChange?.(event.currentTarget.value)
          }}
          onKeyDown={keys}
        />
      )}
    </div>
  )
}
