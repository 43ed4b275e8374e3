/** A small plot of one series, with its words for those who do not see it. */

import { styleColor } from './colors'

export function Spark({
  values,
  label,
  color = 'accent',
  width = 96,
  height = 24,
}: {
  /** Null: there is no value. */
  values: (number | null)[]
  label: string
  color?: string
  width?: number
  height?: number
}) {
  const most = Math.max(...values.map((value) => value ?? 0), 0)
  const x = (index: number) => (values.length < 2 ? 0 : (index / (values.length - 1)) * width)
  const y = (value: number) => height - 1 - (most === 0 ? 0 : (value / most) * (height - 2))
  let path = ''
  let isDown = false
  for (const [index, value] of values.entries()) {
    if (value === null) {
      isDown = false
      continue
    }
    // A value that stands alone is a short stroke, or it would not be seen.
    const alone = !isDown && (values[index + 1] ?? null) === null
    path += `${isDown ? 'L' : 'M'}${x(index).toFixed(1)} ${y(value).toFixed(1)}${alone ? 'h2' : ''}`
    isDown = true
  }
  return (
    <svg class="spark" width={width} height={height} role="img" aria-label={label}>
      <path d={path} fill="none" stroke={styleColor(color)} stroke-width="1.5" />
    </svg>
  )
}
