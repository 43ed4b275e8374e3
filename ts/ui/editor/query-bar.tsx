/** A field for a query: a plain one until the editor has come. */

import { useEffect, useRef, useState } from 'preact/hooks'
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

/** The editor is large: what a person looks at first comes before it. */
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
  const latest = useRef({ ...props, typed })
  latest.current = { ...props, typed }

  useEffect(() => {
    type(props.text)
    editor.current?.set(props.text)
  }, [props.text])

  useEffect(() => {
    let isGone = false
    props.onReady?.(() => (editor.current ? editor.current.focus() : field.current?.focus()))
    idle()
      .then(props.load)
      .then(
        (make) => {
          if (isGone || !host.current) return
          const hadFocus = document.activeElement === field.current
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
          if (hadFocus) editor.current.focus()
        },
        // The plain field goes on.
        () => undefined,
      )
    return () => {
      isGone = true
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
