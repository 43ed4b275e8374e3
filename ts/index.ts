/** The package's exports. */

export { type ErrorCode, type ErrorKind, OtlakeError } from './base/errors.js'
export type { IngestResult, Signal, Stats } from './native/binding.js'
export type { Logger } from './node/node.js'
export { type OpenOptions, Otlake, type ReadOptions, type ServeOptions } from './node/otlake.js'
export type { Addresses } from './query/page.js'
