/**
 * One error with a stable code, a kind that says what a caller can do, and the fix. The codes
 * come from the native module's table (`native/base/src/error.rs`).
 */

import { ERRORS, type ErrorCode, type ErrorKind } from './errors.generated.js'

export type { ErrorCode, ErrorKind }

export class OtlakeError extends Error {
  override readonly name = 'OtlakeError'

  constructor(
    /** Stable; tests and programs compare it. */
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }

  get kind(): ErrorKind {
    return ERRORS[this.code].kind
  }

  /** The sentence that names the fix. */
  get fix(): string {
    return ERRORS[this.code].fix
  }

  /** From anything thrown: what carries a code in front of its message keeps it. */
  static from(thrown: unknown): OtlakeError {
    if (thrown instanceof OtlakeError) return thrown
    const message = thrown instanceof Error ? thrown.message : String(thrown)
    const [, code, rest] = /^([A-Z]+(?:_[A-Z]+)*): ([\s\S]*)$/.exec(message) ?? []
    if (code !== undefined && code in ERRORS) {
      return new OtlakeError(code as ErrorCode, rest ?? '', { cause: thrown })
    }
    return new OtlakeError('INTERNAL', message, { cause: thrown })
  }
}

const STATUS: Record<ErrorKind, number> = {
  invalid: 400,
  denied: 401,
  not_found: 404,
  exhausted: 422,
  unavailable: 503,
  corrupt: 500,
  cancelled: 499,
  internal: 500,
}

/** Codes for which HTTP has a better word than their kind's. */
const STATUS_OF: Partial<Record<ErrorCode, number>> = {
  HTTP_METHOD: 405,
  HTTP_TOO_LARGE: 413,
}

/** The HTTP status of an error. */
export function httpStatus(error: OtlakeError): number {
  return STATUS_OF[error.code] ?? STATUS[error.kind]
}
