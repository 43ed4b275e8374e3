/**
 * Writes ts/cluster/generated from proto/otlake/v1/gossip.proto, with the compiler and the plugin
 * that package.json pins. Their output is committed, so that a build needs neither. `--out FOLDER`
 * writes below another folder than the checkout's.
 */

import { spawnSync } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = fileURLToPath(new URL('..', import.meta.url))
const tools = join(root, 'node_modules', '.bin')
const { values: options } = parseArgs({ options: { out: { type: 'string', default: root } } })
const args = ['generate', '--template', 'proto/otlake/buf.gen.yaml', '--output', options.out]
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
