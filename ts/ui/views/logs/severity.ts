/** OTLP's 24 severities in six bands. */

export const BANDS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'unset'] as const
export type Band = (typeof BANDS)[number]

/** The least and the greatest number of a band. */
export const NUMBERS: Record<Band, [number, number]> = {
  trace: [1, 4],
  debug: [5, 8],
  info: [9, 12],
  warn: [13, 16],
  error: [17, 20],
  fatal: [21, 24],
  unset: [0, 0],
}

export function severityBand(number: number): Band {
  return BANDS.find((band) => number >= NUMBERS[band][0] && number <= NUMBERS[band][1]) ?? 'unset'
}

/** A colour of the style sheet for a band; its words say the same. */
export const BAND_COLORS: Record<Band, string> = {
  fatal: 'bad',
  error: 'bad',
  warn: 'warn',
  info: 'accent',
  debug: 'edge',
  trace: 'line',
  unset: 'soft',
}
