/** The frame around every view: where to go, which range, and whether the node answers. */

import type { ComponentType } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { isReachable, isTokenWanted } from './api/http'
import { lazy } from './parts/lazy'
import { Settings } from './parts/settings'
import { ShortcutList } from './parts/shortcut-list'
import { TimePicker } from './parts/time-picker'
import { address, go, isDark, linkTo, reload, setTheme } from './state/page'
import { useShortcuts } from './state/shortcuts'
import Explore from './views/traces/explore'

interface View {
  /** The first segment of its address. */
  id: string
  name: string
  key: string
  view: ComponentType
  hasRange: boolean
}

const VIEWS: View[] = [
  { id: 'traces', name: 'Traces', key: 't', view: Explore, hasRange: true },
  {
    ...{ id: 'services', name: 'Services', key: 's', hasRange: true },
    view: lazy(() => import('./views/services/services')),
  },
  {
    ...{ id: 'logs', name: 'Logs', key: 'l', hasRange: true },
    view: lazy(() => import('./views/logs/logs')),
  },
  {
    ...{ id: 'metrics', name: 'Metrics', key: 'm', hasRange: true },
    view: lazy(() => import('./views/metrics/metrics')),
  },
  {
    ...{ id: 'sql', name: 'SQL', key: 'q', hasRange: false },
    view: lazy(() => import('./views/sql/sql')),
  },
  {
    ...{ id: 'system', name: 'System', key: 'y', hasRange: false },
    view: lazy(() => import('./views/system/system')),
  },
]
const TRACE: View = {
  ...{ id: 'trace', name: 'Trace', key: '', hasRange: false },
  view: lazy(() => import('./views/trace/trace')),
}

export function App() {
  const [isHelp, help] = useState(false)
  const [isSettings, settings] = useState(false)
  const main = useRef<HTMLElement>(null)
  const id = address.value.path[0] ?? 'traces'
  const view = [...VIEWS, TRACE].find((each) => each.id === id)
  const place = address.value.path.join('/')
  useEffect(() => {
    document.title = `${view?.name ?? 'Not found'} · otlake`
  }, [place])
  useShortcuts('Everywhere', [
    ...VIEWS.map(({ id: to, name, key }) => ({
      ...{ keys: `g ${key}`, does: `Go to ${name}` },
      run: () => go([to]),
    })),
    { keys: 'r', does: 'Load again', run: reload },
    { keys: 'd', does: 'Light or dark', run: toggleTheme },
    { keys: '?', does: 'This list', run: () => help(true) },
  ])
  const Shown = view?.view
  const top = id === 'trace' ? 'traces' : id
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        To the content
      </button>
      <header class="top">
        <a class="brand" href={linkTo(['traces'])}>
          otlake
        </a>
        <nav aria-label="Views">
          {VIEWS.map(({ id: to, name }) => (
            <a key={to} href={linkTo([to])} aria-current={to === top ? 'page' : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <div class="tools">
          {view?.hasRange && <TimePicker />}
          <button type="button" title="Load again (r)" aria-label="Load again" onClick={reload}>
            ⟳
          </button>
          <button
            type="button"
            title="Light or dark (d)"
            aria-label={isDark.value ? 'Light colours' : 'Dark colours'}
            onClick={toggleTheme}
          >
            {isDark.value ? '☀' : '☾'}
          </button>
          <button
            type="button"
            aria-label="Settings"
            title="Settings"
            onClick={() => settings(true)}
          >
            ⚙
          </button>
          <button type="button" title="Keys (?)" aria-label="Keys" onClick={() => help(true)}>
            ?
          </button>
        </div>
      </header>
      {!isReachable.value && (
        <div class="banner" role="alert">
          The node at {location.host} does not answer. Start it again, or check the network: this
          page goes on as soon as it is back.
        </div>
      )}
      <main id="main" ref={main} tabIndex={-1}>
        {Shown ? (
          <Shown />
        ) : (
          <div class="state">
            <h1>There is no view “{id}”</h1>
            <p>
              Go to <a href={linkTo(['traces'])}>Traces</a>, or choose one above.
            </p>
          </div>
        )}
      </main>
      {isHelp && <ShortcutList onClose={() => help(false)} />}
      {(isSettings || isTokenWanted.value) && (
        <Settings
          onClose={() => {
            settings(false)
            isTokenWanted.value = false
          }}
        />
      )}
    </>
  )
}

function toggleTheme() {
  setTheme(isDark.peek() ? 'light' : 'dark')
}
