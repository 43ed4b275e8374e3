/**
 * The page at `http://host:4319/`: what a person opens first. Vite builds it to dist/ui, and
 * `ts/query/page.ts` serves it. Nothing is loaded from anywhere else.
 *
 * - `state/`: the address that a view follows from, ranges of time, theme, keys.
 * - `api/`: requests to the node; `load.ts` for components.
 * - `parts/`: what views are made of: lists, plots, states, dialogs.
 * - `editor/`: the editor of TraceQL and SQL, which comes after the first view is there.
 * - `views/`: a folder each; all but the first are loaded when they are opened. What is computed stands
 *   apart from what is shown, and has its tests beside it.
 *
 * docs/page.md says what a person can do.
 */

import { render } from 'preact'
import { frame } from './api/http'
import { App } from './app'
import { reload, tenant } from './state/page'

frame.tenant = () => tenant.peek()
frame.reload = reload

const host = document.getElementById('page')
if (host) render(<App />, host)
