/** Parts that are loaded when they are first shown. */

import type { ComponentType } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { ErrorState } from './states'

/** A component that comes by `import`; a failure can be tried again. */
export function lazy<Props extends object>(
  load: () => Promise<{ default: ComponentType<Props> }>,
): ComponentType<Props> {
  let known: ComponentType<Props> | undefined
  return function Lazy(props: Props) {
    const [, come] = useState(0)
    const [error, fail] = useState<Error>()
    useEffect(() => {
      if (known) return
      load().then(
        (module) => {
          known = module.default
          come(1)
        },
        (thrown: unknown) => fail(thrown instanceof Error ? thrown : new Error(String(thrown))),
      )
    }, [])
    if (error) return <ErrorState error={error} title="A part of the page did not come" />
    if (!known) return <div class="state">Loading …</div>
    const Known = known
    return <Known {...props} />
  }
}

/** A plot of series, once it is needed. */
export const LazyPlot = lazy(() => import('./plot'))
