/**
 * The editor, CodeMirror, in a shadow root: there its styles are style sheets of their own, and the page's
 * content security policy can go on refusing styles in elements.
 */

import { autocompletion, closeBrackets, closeBracketsKeymap } from '@codemirror/autocomplete'
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands'
import { bracketMatching, HighlightStyle, syntaxHighlighting } from '@codemirror/language'
import { EditorState, type Extension, type StateEffect } from '@codemirror/state'
import { EditorView, keymap, placeholder } from '@codemirror/view'
import { tags } from '@lezer/highlight'

export interface EditorOptions {
  host: HTMLElement
  text: string
  label: string
  hint: string
  language: Extension
  /** Enter runs; otherwise Ctrl+Enter does, and Enter makes a line. */
  isLine: boolean
  onChange: (text: string) => void
  onRun: () => void
}

export interface Editor {
  text(): string
  set(text: string): void
  /** Puts the caret at a place in the text; by default behind it. */
  focus(at?: number): void
  /** Changes a part of its configuration. */
  reconfigure(effect: StateEffect<unknown>): void
  destroy(): void
}

const highlighting = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: 'var(--code-keyword)' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--code-text)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--code-number)' },
  { tag: tags.comment, color: 'var(--soft)', fontStyle: 'italic' },
  { tag: [tags.function(tags.variableName), tags.propertyName], color: 'var(--code-name)' },
])

const look = EditorView.theme({
  '&': { color: 'var(--text)', backgroundColor: 'transparent', fontSize: '0.875rem' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.5' },
  '.cm-content': { caretColor: 'var(--text)', padding: '7px 0' },
  '.cm-line': { padding: '0 10px' },
  '.cm-cursor': { borderLeftColor: 'var(--text)' },
  '.cm-placeholder': { color: 'var(--soft)' },
  '&.cm-focused .cm-selectionBackground, .cm-selectionBackground': {
    background: 'var(--select) !important',
  },
  '.cm-matchingBracket': { background: 'var(--select)', outline: 'none' },
  '.cm-tooltip': {
    background: 'var(--raised)',
    color: 'var(--text)',
    border: '1px solid var(--line)',
    borderRadius: '6px',
    zIndex: '20',
  },
  '.cm-tooltip-autocomplete ul li[aria-selected]': {
    background: 'var(--accent)',
    color: 'var(--on-accent)',
  },
  '.cm-completionDetail': { color: 'inherit', opacity: '1', fontStyle: 'normal' },
})

/** What is selected in the editor's own content; in Chromium a shadow root has a selection of its own. */
function selected(view: EditorView): Range | null {
  const root = view.root as DocumentOrShadowRoot & Partial<Pick<Document, 'getSelection'>>
  const selection = root.getSelection ? root.getSelection() : document.getSelection()
  const range = selection && selection.rangeCount > 0 ? selection.getRangeAt(0) : null
  return range && view.contentDOM.contains(range.commonAncestorContainer) ? range : null
}

/**
 * Text that is typed over a selection. Chromium would keep the selection's colours by a style in an element,
 * which the content security policy refuses; so the browser is not let do it. The editor may not have heard
 * of that selection yet, so the browser is asked for it.
 */
const typedOver = EditorView.domEventHandlers({
  beforeinput(event, view) {
    const text = event.data
    if (event.inputType !== 'insertText' || !text || view.composing) return false
    const range = selected(view)
    if (!range || range.collapsed) return false
    const from = view.posAtDOM(range.startContainer, range.startOffset)
    const to = Math.max(from, view.posAtDOM(range.endContainer, range.endOffset))
    const change = () =>
      view.state.update({
        changes: { from, to, insert: text },
        selection: { anchor: from + text.length },
        userEvent: 'input.type',
        scrollIntoView: true,
      })
    const handlers = view.state.facet(EditorView.inputHandler)
    const isHandled = handlers.some((handle) => handle(view, from, to, text, change))
    if (!isHandled) view.dispatch(change())
    event.preventDefault()
    return true
  },
})

/** Opens an editor in `host`. */
export function openEditor(options: EditorOptions): Editor {
  const root = options.host.shadowRoot ?? options.host.attachShadow({ mode: 'open' })
  root.replaceChildren()
  const run = () => {
    options.onRun()
    return true
  }
  const keys = [
    { key: 'Mod-Enter', run },
    ...(options.isLine ? [{ key: 'Enter', run }] : []),
    // Tab goes on to the next field, as everywhere on the page (WCAG 2.1.2).
  ]
  const single = EditorState.transactionFilter.of((transaction) =>
    transaction.newDoc.lines > 1
      ? {
          changes: {
            from: 0,
            to: transaction.startState.doc.length,
            insert: transaction.newDoc.toString().replaceAll(/\s*\n\s*/g, ' '),
          },
        }
      : transaction,
  )
  const view = new EditorView({
    parent: root,
    root,
    state: EditorState.create({
      doc: options.text,
      extensions: [
        autocompletion({ icons: false, activateOnTyping: true, maxRenderedOptions: 100 }),
        // Its keys come first: Enter takes what is chosen in the list, and runs where there is none.
        keymap.of(keys),
        keymap.of([...closeBracketsKeymap, ...historyKeymap, ...defaultKeymap]),
        history(),
        typedOver,
        closeBrackets(),
        bracketMatching(),
        syntaxHighlighting(highlighting),
        look,
        placeholder(options.hint),
        options.isLine ? single : EditorView.lineWrapping,
        options.language,
        EditorView.contentAttributes.of({ 'aria-label': options.label, tabindex: '0' }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) options.onChange(update.state.doc.toString())
        }),
      ],
    }),
  })
  return {
    text: () => view.state.doc.toString(),
    set(text) {
      if (text === view.state.doc.toString()) return
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } })
    },
    focus(at = view.state.doc.length) {
      view.focus()
      view.dispatch({ selection: { anchor: Math.min(at, view.state.doc.length) } })
    },
    reconfigure: (effect) => view.dispatch({ effects: effect }),
    destroy: () => view.destroy(),
  }
}
