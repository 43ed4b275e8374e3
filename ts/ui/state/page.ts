/** What every view shares: the address, the range, the zone, the refresh, the theme. */

import { computed, effect, signal } from '@preact/signals'
import { type Address, addressOf, formatAddress, parseAddress } from './address'
import { every, now } from './clock'
import { DEFAULT_FROM, DEFAULT_TO, isZone, parseLength, parseRange, type Range } from './time'

export const address = signal<Address>(parseAddress(location.hash))

addEventListener('hashchange', () => {
  address.value = parseAddress(location.hash)
})

/** A parameter of the address. */
export function param(name: string): string {
  return address.value.params[name] ?? ''
}

/** Changes parameters of the address; by default one can go back to what was before. */
export function setParams(
  changes: Record<string, string>,
  options: { replace?: boolean } = {},
): void {
  const { path, params } = address.peek()
  const hash = formatAddress({ path, params: { ...params, ...changes } })
  if (hash === location.hash) return
  if (options.replace) {
    history.replaceState(null, '', hash)
    address.value = parseAddress(hash)
  } else {
    location.hash = hash
  }
}

/** The link to another view; it keeps the range and what else every view has. */
export function linkTo(path: string[], params: Record<string, string> = {}): string {
  return addressOf(address.value, path, params)
}

export function go(path: string[], params: Record<string, string> = {}): void {
  location.hash = linkTo(path, params)
}

/** Raised when everything is to be loaded again. */
export const tick = signal(0)
export function reload(): void {
  tick.value += 1
}

export const from = computed(() => param('from') || DEFAULT_FROM)
export const to = computed(() => param('to') || DEFAULT_TO)
export const tenant = computed(() => param('tenant'))

/** The range as it is now; it moves when the page loads again. */
export const range = computed<Range>(() => {
  void tick.value
  const at = now()
  return (
    parseRange(from.value, to.value, at) ??
    parseRange(DEFAULT_FROM, DEFAULT_TO, at) ?? { from: at - 1, to: at }
  )
})

const LOCAL_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone
export const zone = computed(() => {
  const wanted = param('tz')
  return wanted !== '' && isZone(wanted) ? wanted : LOCAL_ZONE
})

/** Loads everything again as often as the address says, while the page is seen. */
let stop: (() => void) | undefined
effect(() => {
  stop?.()
  const interval = parseLength(param('refresh'))
  stop = interval === null ? undefined : every(interval, () => document.hidden || reload())
})

export type Theme = 'light' | 'dark' | 'system'
const THEME_KEY = 'otlake.theme'
const dark = matchMedia('(prefers-color-scheme: dark)')
const systemDark = signal(dark.matches)
dark.addEventListener('change', () => {
  systemDark.value = dark.matches
})

export const theme = signal<Theme>(storedTheme())
export const isDark = computed(() =>
  theme.value === 'system' ? systemDark.value : theme.value === 'dark',
)

function storedTheme(): Theme {
  const stored = localStorage.getItem(THEME_KEY)
  return stored === 'light' || stored === 'dark' ? stored : 'system'
}

export function setTheme(value: Theme): void {
  theme.value = value
  localStorage.setItem(THEME_KEY, value)
}

effect(() => {
  document.documentElement.dataset.theme = isDark.value ? 'dark' : 'light'
})
