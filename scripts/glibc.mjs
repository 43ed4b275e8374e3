/**
 * Reads which version of glibc a shared library asks for: the highest `GLIBC_x.y` among the symbol
 * versions it needs. It reads the ELF file itself, so no binutils have to be installed.
 *
 *   node scripts/glibc.mjs native/otlake.linux-x64-gnu.node [--most 2.28]
 */

import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

/** The section with the versions of the symbols that a file needs (`.gnu.version_r`). */
const SHT_GNU_VERNEED = 0x6ffffffe

/** The version names that a 64-bit little-endian ELF file needs, by library. */
export function neededVersions(path) {
  const file = readFileSync(path)
  if (file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) {
    throw new Error(`${path} is not a 64-bit little-endian ELF file.`)
  }
  const start = Number(file.readBigUInt64LE(40))
  const size = file.readUInt16LE(58)
  const sections = Array.from({ length: file.readUInt16LE(60) }, (_, index) => {
    const at = start + index * size
    return {
      type: file.readUInt32LE(at + 4),
      offset: Number(file.readBigUInt64LE(at + 24)),
      link: file.readUInt32LE(at + 40),
      entries: file.readUInt32LE(at + 44),
    }
  })
  const section = sections.find(({ type }) => type === SHT_GNU_VERNEED)
  const needed = {}
  if (section === undefined) return needed
  const names = sections[section.link].offset
  const text = (offset) => file.toString('latin1', names + offset, file.indexOf(0, names + offset))
  // Elf64_Verneed: version, count, library, first version, next library; each an offset from here.
  for (let left = section.entries, at = section.offset; left > 0; left -= 1) {
    const library = text(file.readUInt32LE(at + 4))
    needed[library] = []
    let version = at + file.readUInt32LE(at + 8)
    for (let count = file.readUInt16LE(at + 2); count > 0; count -= 1) {
      needed[library].push(text(file.readUInt32LE(version + 8)))
      version += file.readUInt32LE(version + 12)
    }
    at += file.readUInt32LE(at + 12)
  }
  return needed
}

/** Compares versions number by number: 2.4 is older than 2.28. */
export function compareVersions(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number))
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

/** The highest version of glibc that a library needs; null where it needs none (musl). */
export function highestGlibc(path) {
  const versions = Object.values(neededVersions(path))
    .flat()
    .filter((name) => /^GLIBC_\d/.test(name))
    .map((name) => name.slice('GLIBC_'.length))
  return versions.sort(compareVersions).at(-1) ?? null
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const path = process.argv[2]
  const option = process.argv.indexOf('--most')
  const most = option > 0 ? process.argv[option + 1] : null
  if (path === undefined || most === undefined) {
    console.error('node scripts/glibc.mjs FILE [--most VERSION]')
    process.exit(2)
  }
  const highest = highestGlibc(path)
  console.log(highest === null ? 'no glibc' : `GLIBC_${highest}`)
  if (most !== null && highest !== null && compareVersions(highest, most) > 0) {
    console.error(`${path} needs glibc ${highest}; at most ${most} is allowed.`)
    process.exitCode = 1
  }
}
