/** Rows as series: columns that belong together, over one axis. */

export interface Point {
  x: number | null
  y: number | null
  name: string
}

export interface SeriesSet {
  x: number[]
  series: { name: string; values: (number | null)[] }[]
  /** Series that are beyond those that can be told apart. */
  left: number
}

/** What one plot shows. */
const MOST_SERIES = 30

/** Series by their names; of several values at one place the last counts. */
export function seriesOf(points: Point[]): SeriesSet {
  const names = [...new Set(points.map(({ name }) => name))]
  const shown = names.slice(0, MOST_SERIES)
  const x = [...new Set(points.flatMap(({ x: at }) => (at === null ? [] : [at])))].sort(
    (a, b) => a - b,
  )
  const places = new Map(x.map((at, index) => [at, index]))
  const values = new Map(shown.map((name) => [name, new Array<number | null>(x.length).fill(null)]))
  for (const { x: at, y, name } of points) {
    const place = at === null ? undefined : places.get(at)
    const column = values.get(name)
    if (place !== undefined && column) column[place] = y
  }
  return {
    x,
    series: shown.map((name) => ({ name, values: values.get(name) ?? [] })),
    left: names.length - shown.length,
  }
}
