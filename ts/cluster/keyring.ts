/**
 * Keys for what members send: AES-256-GCM. The first key seals and every key opens, so a key is
 * changed without losing anybody: add the new one everywhere, make it the first everywhere, remove
 * the old one everywhere. A random nonce of 96 bits allows 2^32 messages under one key with a
 * chance of 2^-32 that two are equal (NIST SP 800-38D, 8.3).
 */

import { createCipheriv, createDecipheriv } from 'node:crypto'
import { OtlakeError } from '../base/errors.js'
import type { Random } from '../base/random.js'
import { MAX_KEYS } from './settings.js'

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
const CIPHER = 'aes-256-gcm'

export class KeyRing {
  #keys: readonly Uint8Array[] = []

  /** `keys` of 32 bytes each, the sealing one first. Throws `CONFIG_INVALID`. */
  constructor(
    keys: readonly Uint8Array[],
    private readonly random: Random,
  ) {
    this.replace(keys)
  }

  get size(): number {
    return this.#keys.length
  }

  /** Adds a key that opens. It seals nothing before `use`. Throws `CONFIG_INVALID`. */
  add(key: Uint8Array): void {
    if (!this.#keys.some((known) => isEqual(known, key))) this.replace([...this.#keys, key])
  }

  /** Makes a key that is known the one that seals. Throws `CONFIG_INVALID` for another. */
  use(key: Uint8Array): void {
    const rest = this.#keys.filter((known) => !isEqual(known, key))
    if (rest.length === this.#keys.length) {
      throw new OtlakeError('CONFIG_INVALID', 'the key must be added before it is used')
    }
    this.replace([key, ...rest])
  }

  /** Removes a key. Throws `CONFIG_INVALID` for the one that seals. */
  remove(key: Uint8Array): void {
    const [first, ...rest] = this.#keys
    if (first && isEqual(first, key)) {
      throw new OtlakeError('CONFIG_INVALID', 'use another key before this one is removed')
    }
    this.replace([first as Uint8Array, ...rest.filter((known) => !isEqual(known, key))])
  }

  /** Takes other keys in place of all. Throws `CONFIG_INVALID`. */
  replace(keys: readonly Uint8Array[]): void {
    if (keys.length === 0 || keys.length > MAX_KEYS) {
      throw new OtlakeError('CONFIG_INVALID', `a key ring holds 1 to ${MAX_KEYS} keys`)
    }
    if (keys.some((key) => key.length !== KEY_BYTES)) {
      throw new OtlakeError('CONFIG_INVALID', `a cluster key has ${KEY_BYTES} bytes`)
    }
    this.#keys = keys.map((key) => Uint8Array.from(key))
  }

  /** Nonce, ciphertext, tag. */
  seal(plain: Uint8Array, associated: Uint8Array): Uint8Array {
    const nonce = this.random.bytes(NONCE_BYTES)
    const cipher = createCipheriv(CIPHER, this.#keys[0] as Uint8Array, nonce)
    cipher.setAAD(associated)
    return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
  }

  /** What was sealed, or null where no key fits: another cluster's, or changed on its way. */
  open(sealed: Uint8Array, associated: Uint8Array): Uint8Array | null {
    if (sealed.length < NONCE_BYTES + TAG_BYTES) return null
    const nonce = sealed.subarray(0, NONCE_BYTES)
    const text = sealed.subarray(NONCE_BYTES, -TAG_BYTES)
    const tag = sealed.subarray(-TAG_BYTES)
    for (const key of this.#keys) {
      const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES })
      decipher.setAAD(associated)
      decipher.setAuthTag(tag)
      try {
        return Buffer.concat([decipher.update(text), decipher.final()])
      } catch {
        // Sealed with another key of the ring, or none of ours.
      }
    }
    return null
  }
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}
