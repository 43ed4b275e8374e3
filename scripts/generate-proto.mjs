/**
 * Writes ts/cluster/generated from proto/otlake/v1/gossip.proto, ts/query/tempo/generated from
 * proto/tempo/tempo.proto and ts/query/jaeger/generated from proto/jaeger/query.proto, with the
 * compiler and the plugin that package.json pins. Their output is committed, so that a build needs neither. `--out FOLDER` writes below another folder than the
 * checkout's.
 */

import { spawnSync } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = fileURLToPath(new URL('..', import.meta.url))
const tools = join(root, 'node_modules', '.bin')
const { values: options } = parseArgs({ options: { out: { type: 'string', default: root } } })

/** Compiles one file of a folder, by the folder's template. */
function generate(folder, path) {
  const args = ['generate', '--template', `${folder}/buf.gen.yaml`, '--output', options.out]
  const { status, error } = spawnSync(join(tools, 'buf'), [...args, folder, '--path', path], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, PATH: `${tools}${delimiter}${process.env.PATH}` },
  })
  if (error) throw error
  if (status !== 0) process.exitCode = status ?? 1
}

generate('proto/otlake', 'proto/otlake/v1/gossip.proto')
generate('proto/tempo', 'proto/tempo/tempo.proto')
generate('proto/jaeger', 'proto/jaeger/query.proto')
