/** Colours of services and series: one name has the same everywhere. */

import { isDark } from '../state/page'

/** Each stands out at 3:1 and more against its theme's background (WCAG 2.2, 1.4.11). */
const LIGHT = [
  ...['#0b6fa8', '#b3560b', '#2f7d32', '#8a3fa8', '#b3261e', '#00796b'],
  ...['#6a5d00', '#5b4fc4', '#a8327a', '#4d6b1e', '#37649a', '#8c5a3c'],
]
const DARK = [
  ...['#5cb8f0', '#f0a35c', '#7fcf83', '#cf95e8', '#f28b82', '#4fd0c0'],
  ...['#d6c64a', '#a79ff5', '#ee8fc6', '#a9cc6f', '#8fb4e6', '#d9a688'],
]

/** FNV-1a (Fowler, Noll, Vo). */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let index = 0; index < text.length; index++) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193)
  }
  return value >>> 0
}

/** The colour of a service or another name. */
export function colorOf(name: string): string {
  const palette = isDark.value ? DARK : LIGHT
  return palette[hash(name) % palette.length] ?? ''
}

/** The colour of the series at a place of a plot. */
export function seriesColor(index: number): string {
  const palette = isDark.value ? DARK : LIGHT
  return palette[index % palette.length] ?? ''
}

/** A colour of the style sheet, for what is drawn on a canvas. */
export function styleColor(name: string): string {
  void isDark.value
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
}
