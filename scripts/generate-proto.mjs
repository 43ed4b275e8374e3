/**
 * Writes ts/cluster/generated from proto/otlake/v1/gossip.proto, with the compiler and the plugin
 * that package.json pins. Their output is committed, so that a build needs neither.
 */

import { spawnSync } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const tools = join(root, 'node_modules', '.bin')
const args = ['generate', '--template', 'proto/otlake/buf.gen.yaml']
const { status, error } = spawnSync(
  join(tools, 'buf'),
  [...args, 'proto/otlake', '--path', 'proto/otlake/v1/gossip.proto'],
  {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, PATH: `${tools}${delimiter}${process.env.PATH}` },
  },
)
if (error) throw error
process.exitCode = status ?? 1
