/** A setting, and the schemas that several settings share. */

import { isIP } from 'node:net'
import { z } from 'zod'
import { OtlakeError } from '../base/errors.js'

export interface Setting {
  /** What it is, for the documentation. */
  about: string
  schema: z.ZodType
  default: unknown
}

/** A setting that does not fit with the others, as `CONFIG_INVALID`. */
export function invalid(path: string, message: string): OtlakeError {
  return new OtlakeError('CONFIG_INVALID', `\`${path}\`: ${message}`)
}

export const bytes = z.coerce.number().int().positive()
export const count = z.coerce.number().int().positive()
/** True and false, as files, variables and the command line write them. */
export const flag = z.preprocess(
  (value) => ({ true: true, false: false })[String(value)] ?? value,
  z.boolean('is `true` or `false`'),
)
export const address = z
  .string()
  .regex(/^(off|(\[[^\]]+\]|[^:]+):\d{1,5})$/, 'is `off` or HOST:PORT')
  // The native servers bind to addresses, not names; this one name needs no look-up.
  .transform((text) => (text === 'off' ? null : text.replace(/^localhost:/, '127.0.0.1:')))
  .refine((text) => text === null || isAddress(text), 'needs an IP address or localhost')
export const list = z.union([
  z.array(z.string()),
  z.string().transform((text) => (text === '' ? [] : text.split(',').map((part) => part.trim()))),
])
export const tokens = z.array(
  z.strictObject({
    sha256: z.string().regex(/^[0-9a-fA-F]{64}$/, 'is the SHA-256 of a token, 64 hex digits'),
    tenant: z
      .string()
      .regex(
        /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
        'is 1 to 64 letters, digits, dots, hyphens or underscores, the first a letter or digit',
      ),
  }),
)

export const days = z.coerce.number().int().nonnegative().max(36_500)
/** What the environment and the command line give as JSON. */
export const json = <T extends z.ZodType>(schema: T) =>
  z.preprocess((value) => {
    try {
      return typeof value === 'string' ? JSON.parse(value) : value
    } catch {
      return value
    }
  }, schema)
export const tenantRetention = json(
  z.array(
    z.strictObject({
      tenant: z.string().min(1).max(64),
      signal: z.enum(['traces', 'metrics', 'logs']).optional(),
      days,
    }),
  ),
)

function isAddress(text: string): boolean {
  const [, host = '', port] = /^\[?(.*?)\]?:(\d+)$/.exec(text) ?? []
  return isIP(host) !== 0 && Number(port) <= 65_535
}
