/**
 * The members' state: for each a map of registers, the last write of each standing, under a
 * version vector that says how much of everybody's state a node has. A member alone writes its
 * registers, so a write is ordered by (generation, version) and the map is a lattice: entries can
 * come in any order, twice or in part, and everybody ends with the same. The vector and the
 * difference by it are Scuttlebutt's (van Renesse et al., 2008).
 *
 * An entry that came ahead of others is taken at once; the vector moves on only when nothing before
 * it is missing, so that the next push-pull brings what is.
 */

import type { StateEntry, StateVersion } from './messages.js'
import { MAX_MEMBERS, MAX_STATE_KEYS } from './settings.js'

interface Register {
  readonly value: string | null
  readonly version: number
}

interface Writer {
  generation: number
  /** Everything up to this version is here. */
  version: number
  readonly registers: Map<string, Register>
}

const NOTHING: Writer = { generation: 0, version: 0, registers: new Map() }

export class StateStore {
  readonly #writers = new Map<string, Writer>()

  /** What this start of `member` says of itself; of another start nothing is told. */
  of({ name, generation }: { name: string; generation: number }): Map<string, string> {
    const writer = this.#writers.get(name)
    const registers = writer?.generation === generation ? writer.registers : NOTHING.registers
    const present = [...registers].filter(([, { value }]) => value !== null)
    return new Map(present.map(([key, { value }]) => [key, value as string]))
  }

  /**
   * Writes a register of one's own; null removes it. Returns the entry to spread, or null where
   * nothing changes or there are `MAX_STATE_KEYS` already.
   */
  set(member: string, generation: number, key: string, value: string | null): StateEntry | null {
    const writer = this.#of(member, generation)
    const known = writer.registers.get(key)
    if ((known?.value ?? null) === value) return null
    if (known === undefined && writer.registers.size >= MAX_STATE_KEYS) return null
    const after = writer.version
    writer.version = after + 1
    writer.registers.set(key, { value, version: writer.version })
    return { member, generation, version: writer.version, after, key, value }
  }

  /** Takes an entry over; whether it brought anything. */
  apply(entry: StateEntry): boolean {
    const known = this.#writers.get(entry.member)
    if (known !== undefined && entry.generation < known.generation) return false
    if (known === undefined && this.#writers.size >= MAX_MEMBERS) return false
    const writer = this.#of(entry.member, entry.generation)
    const register = writer.registers.get(entry.key)
    let changed = false
    if (register === undefined || entry.version > register.version) {
      if (register === undefined && writer.registers.size >= MAX_STATE_KEYS) return false
      writer.registers.set(entry.key, { value: entry.value, version: entry.version })
      changed = true
    }
    if (entry.after <= writer.version && entry.version > writer.version) {
      writer.version = entry.version
      changed = true
    }
    return changed
  }

  /** The version vector. */
  digest(): StateVersion[] {
    return [...this.#writers].map(([member, { generation, version }]) => ({
      member,
      generation,
      version,
    }))
  }

  /** What somebody with this version vector lacks, each member's in the order of its versions. */
  newerThan(digest: readonly StateVersion[]): StateEntry[] {
    const theirs = new Map(digest.map((known) => [known.member, known]))
    return [...this.#writers].flatMap(([member, writer]) => {
      const { generation } = writer
      const known = theirs.get(member)
      if (known !== undefined && known.generation > generation) return []
      let after = known?.generation === generation ? known.version : 0
      const entries: StateEntry[] = []
      const inOrder = [...writer.registers].sort(([, a], [, b]) => a.version - b.version)
      for (const [key, { value, version }] of inOrder) {
        if (version <= after) continue
        // Past what we have whole, all we can say is that nothing lies between two numbers.
        const from = version <= writer.version ? after : version - 1
        entries.push({ member, generation, version, after: from, key, value })
        after = version
      }
      return entries
    })
  }

  /** Forgets a member that is no more. */
  forget(member: string): void {
    this.#writers.delete(member)
  }

  /** The member's map of this generation; a newer one starts empty. */
  #of(member: string, generation: number): Writer {
    const known = this.#writers.get(member) ?? NOTHING
    if (known !== NOTHING && known.generation === generation) return known
    const fresh: Writer = { generation, version: 0, registers: new Map() }
    this.#writers.set(member, fresh)
    return fresh
  }
}
