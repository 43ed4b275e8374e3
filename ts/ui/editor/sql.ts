/** The editor of SQL, which knows the tables and their columns. */

import { PostgreSQL, type SQLNamespace, sql } from '@codemirror/lang-sql'
import { Compartment } from '@codemirror/state'
import { rows, sql as statement } from '../api/sql'
import { type Editor, type EditorOptions, openEditor } from './base'

/** Functions of otlake's own, docs/sql.md. */
const FUNCTIONS = [
  ...['attr', 'attr_int', 'attr_double', 'attr_bool', 'attr_json', 'attr_keys'],
  ...['hex', 'unhex', 'trace_id', 'span_id', 'span_kind_name', 'status_name', 'severity_name'],
  ...['adjusted_count'],
  ...['approx_percentile_cont', 'date_bin', 'date_trunc', 'count', 'sum', 'avg', 'min', 'max'],
]

interface Column {
  table_name: string
  column_name: string
  data_type: string
}

/** The tables with their columns, as the node has them. */
async function schema(): Promise<SQLNamespace> {
  const columns = await rows<Column>(statement`SELECT table_name, column_name, data_type
    FROM information_schema.columns WHERE table_schema = 'public'`)
  const tables: Record<string, { label: string; detail: string }[]> = {}
  for (const { table_name, column_name, data_type } of columns) {
    tables[table_name] ??= []
    tables[table_name].push({ label: column_name, detail: data_type })
  }
  return tables
}

const language = new Compartment()
const withTables = (tables: SQLNamespace) => {
  const support = sql({ dialect: PostgreSQL, schema: tables, upperCaseKeywords: true })
  const functions = FUNCTIONS.map((name) => ({ label: `${name}(`, type: 'function' }))
  return [
    support,
    PostgreSQL.language.data.of({
      autocomplete: (context: import('@codemirror/autocomplete').CompletionContext) => {
        const word = context.matchBefore(/\w+/)
        return word && { from: word.from, options: functions, validFor: /^\w*$/ }
      },
    }),
  ]
}

/** Opens an editor of SQL; the tables come to it when they are known. */
export function openSql(options: Omit<EditorOptions, 'language'>): Editor {
  const editor = openEditor({ ...options, language: language.of(withTables({})) })
  schema().then(
    (tables) => editor.reconfigure(language.reconfigure(withTables(tables))),
    // Without them it completes keywords alone.
    () => undefined,
  )
  return editor
}
