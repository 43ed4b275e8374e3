/** What is chosen once: the token, the tenant, the theme, the zone. */

import { useState } from 'preact/hooks'
import { isTokenWanted, setToken, token } from '../api/http'
import { param, reload, setParams, setTheme, type Theme, theme } from '../state/page'
import { isZone } from '../state/time'
import { Dialog } from './dialog'

const ZONES: string[] = ['UTC', ...Intl.supportedValuesOf('timeZone')]

export function Settings({ onClose }: { onClose: () => void }) {
  const [key, setKey] = useState(token())
  const [tenant, setTenant] = useState(param('tenant'))
  const [tz, setTz] = useState(param('tz'))
  const isWrong = tz !== '' && !isZone(tz)
  const save = (event: Event) => {
    event.preventDefault()
    if (isWrong) return
    setParams({ tenant, tz })
    if (key === token()) reload()
    else setToken(key.trim())
    onClose()
  }
  return (
    <Dialog title="Settings" onClose={onClose}>
      <form class="form" onSubmit={save}>
        {isTokenWanted.value && (
          <p role="alert">This node asks for a token: enter one of its `auth.tokens`.</p>
        )}
        <label>
          Token
          <input
            type="password"
            autocomplete="off"
            value={key}
            onInput={(event) => setKey(event.currentTarget.value)}
          />
          <small>Sent with each request of this tab, and forgotten with it.</small>
        </label>
        <label>
          Tenant
          <input
            value={tenant}
            placeholder="every tenant"
            onInput={(event) => setTenant(event.currentTarget.value)}
          />
          <small>Where the node has no tokens; with them, the token decides.</small>
        </label>
        <label>
          Time zone
          <input
            list="zones"
            value={tz}
            placeholder={`this browser's: ${Intl.DateTimeFormat().resolvedOptions().timeZone}`}
            aria-invalid={isWrong}
            onInput={(event) => setTz(event.currentTarget.value)}
          />
          <datalist id="zones">
            {ZONES.map((each) => (
              <option key={each} value={each} />
            ))}
          </datalist>
          <small>
            {isWrong ? 'No such zone: write UTC, or one as Europe/Zurich.' : 'As in Europe/Zurich.'}
          </small>
        </label>
        <label>
          Colours
          <select
            value={theme.value}
            onChange={(event) => setTheme(event.currentTarget.value as Theme)}
          >
            <option value="system">As the system</option>
            <option value="light">Light</option>
            <option value="dark">Dark</option>
          </select>
        </label>
        <p>
          <button type="submit" class="primary">
            Save
          </button>{' '}
          <a href="./licenses.txt">Licences of what this page is made of</a>
        </p>
      </form>
    </Dialog>
  )
}
