/** The editor of TraceQL: colours by Grafana's grammar, completion from what the tables hold. */

import type { Completion, CompletionContext, CompletionResult } from '@codemirror/autocomplete'
import { LanguageSupport, LRLanguage } from '@codemirror/language'
import { parser } from '@grafana/lezer-traceql'
import { styleTags, tags } from '@lezer/highlight'
import { tagNames, tagValues } from '../api/tempo'
import { range } from '../state/page'
import { type Editor, type EditorOptions, openEditor } from './base'
import { OPERATORS, placeIn, STAGES, written, writtenValue } from './complete-traceql'

const language = LRLanguage.define({
  name: 'traceql',
  parser: parser.configure({
    props: [
      styleTags({
        String: tags.string,
        'Integer Float Duration': tags.number,
        'IntrinsicField AttributeField Identifier': tags.propertyName,
        'Resource Span Event Link Instrumentation Parent': tags.keyword,
        'Aggregate GroupOperation SelectOperation CoalesceOperation': tags.keyword,
        'MetricsOperation MetricsOperationBasicType MetricsOverTimeType': tags.keyword,
        'With HintIdentifier': tags.keyword,
      }),
    ],
  }),
  languageData: { closeBrackets: { brackets: ['(', '{', '"'] } },
})

/** How long names and values are taken for those of the tables. */
const FRESH_MS = 30_000
const answers = new Map<string, { at: number; options: Promise<Completion[]> }>()

function fresh(key: string, load: () => Promise<Completion[]>): Promise<Completion[]> {
  const known = answers.get(key)
  const at = performance.now()
  if (known && at - known.at < FRESH_MS) return known.options
  const options = load().catch(() => [])
  answers.set(key, { at, options })
  return options
}

const names = () =>
  fresh('', async () =>
    (await tagNames(range.peek())).flatMap(({ name: scope, tags: all }) =>
      all.map((tag) => ({
        label: written(scope, tag),
        detail: scope === 'intrinsic' ? 'intrinsic' : '',
        boost: scope === 'intrinsic' ? 1 : 0,
      })),
    ),
  )

const values = (tag: string) =>
  fresh(tag, async () =>
    (await tagValues(tag, range.peek())).map(({ type, value }) => ({
      label: writtenValue(type, value),
      detail: type,
    })),
  )

async function complete(context: CompletionContext): Promise<CompletionResult | null> {
  const place = placeIn(context.state.sliceDoc(0, context.pos))
  switch (place.kind) {
    case 'name':
      return { from: place.from, options: await names(), validFor: /^[\w.:/"-]*$/ }
    case 'value':
      return {
        from: place.from,
        // A quote that was opened is closed by the editor already.
        ...(context.state.sliceDoc(context.pos, context.pos + 1) === '"' && place.typed !== ''
          ? { to: context.pos + 1 }
          : {}),
        options: place.tag === '' ? [] : await values(place.tag),
        validFor: /^"?[^"]*$/,
      }
    case 'operator':
      return { from: place.from, options: OPERATORS.map((label) => ({ label: `${label} ` })) }
    case 'stage':
      return { from: place.from, options: STAGES.map(([label, detail]) => ({ label, detail })) }
    default:
      return null
  }
}

/** Opens an editor of TraceQL. */
export function openTraceql(options: Omit<EditorOptions, 'language'>): Editor {
  const support = new LanguageSupport(language, [language.data.of({ autocomplete: complete })])
  return openEditor({ ...options, language: support })
}
