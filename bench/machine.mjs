/** What a run was measured on, and of which state of the code. */

import { execFileSync } from 'node:child_process'
import { cpus, totalmem } from 'node:os'
import { allSettings } from '../dist/node/settings.js'
import { PACKAGE, ROOT } from './node.mjs'

const git = (...args) => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim()

export function machine() {
  // The history is written by the runs themselves: a line more in it is not another revision.
  const changed = git('status', '--porcelain', '--', '.', ':!bench/history.jsonl') !== ''
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    revision: `${git('rev-parse', '--short', 'HEAD')}${changed ? '+' : ''}`,
    build: PACKAGE === undefined ? 'of this checkout' : 'an installed package',
    // The default, which every stage but `durability` has.
    durability: allSettings().durability.default,
  }
}
