/** The native parts under Criterion (bench/native), each beside its references, on one core. */

import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { cargoEnvironment } from '../../scripts/places.mjs'
import { ROOT } from '../node.mjs'
import { median, round } from '../numbers.mjs'
import { ALL, CLIENT, output, SERVER } from '../server.mjs'

/** Which benches a run takes: a quick one only the decoder's of spans, which the table has. */
const FULL = ['receive', 'decode', 'log', 'shard', 'merge', 'commit', 'query']
/** Those whose work is done by several threads, which get both processors. */
const THREADED = ['log', 'query', 'receive']
const QUICK = ['decode']

/** What a bench says besides Criterion's own lines: `log/append/8: …`. */
const NOTE = /^[a-z]+\/\S+: /

export async function parts({ report, length }) {
  const environment = cargoEnvironment()
  const home = join(environment.CARGO_TARGET_DIR, 'criterion')
  // What an earlier run left is not this one's.
  rmSync(home, { recursive: true, force: true })
  const cargo = ['bench', '-q', '--profile', 'release', '--locked']
  const manifest = ['--manifest-path', join(ROOT, 'bench/native/Cargo.toml')]
  const env = [`CRITERION_HOME=${home}`, `CARGO_TARGET_DIR=${environment.CARGO_TARGET_DIR}`]
  const times = [
    ...length([], ['/traces'], ['/traces']),
    ...['--sample-size', 10],
    ...['--warm-up-time', length(1, 0.2, 0.1)],
    ...['--measurement-time', length(3, 0.5, 0.1)],
  ]
  // Compiled before, by all processors, so that a bench has its core to itself.
  await output('cargo', ALL, ['env', ...env, 'cargo', ...cargo, '--no-run', ...manifest])
  const notes = []
  for (const bench of length(FULL, QUICK, QUICK)) {
    const on = THREADED.includes(bench) ? `${SERVER},${CLIENT}` : SERVER
    const command = [
      'env',
      ...env,
      'cargo',
      ...cargo,
      ...manifest,
      '--bench',
      bench,
      '--',
      ...times,
    ]
    const text = await output(`the bench ${bench}`, on, command)
    notes.push(...text.split('\n').filter((line) => NOTE.test(line)))
  }
  const measured = read(home)
  const rows = measured.map(({ bench, what, of, rates, bytes }) => ({
    bench,
    what,
    of,
    per_second: Math.round(median(rates)),
    min: Math.round(Math.min(...rates)),
    max: Math.round(Math.max(...rates)),
    megabytes_per_second: bytes === undefined ? '' : round((median(rates) * bytes) / 1e6, 0),
  }))
  report.show('Native parts', rows)
  if (notes.length > 0) report.show('Of the parts', notes)
  const rates = (what) => measured.find((one) => one.what === what && one.of === 'traces').rates
  for (const other of ['scan', 'prost']) {
    const beside = median(rates(other)) / 1e6
    for (const rate of rates('otlake')) {
      report.add(`decode_over_${other}`, rate / 1e6, beside, other)
    }
  }
}

/** Every sample that Criterion took: elements a second. */
function read(home) {
  const found = []
  const file = (folder, name) => JSON.parse(readFileSync(join(folder, 'new', name), 'utf8'))
  for (const entry of readdirSync(home, { recursive: true })) {
    const folder = join(home, entry)
    if (!existsSync(join(folder, 'new', 'sample.json'))) continue
    const { iters, times } = file(folder, 'sample.json')
    const { group_id, function_id, value_str, throughput } = file(folder, 'benchmark.json')
    const { elements, bytes } = throughput.ElementsAndBytes ?? { elements: throughput.Elements }
    found.push({
      bench: group_id,
      what: function_id,
      of: value_str,
      bytes,
      rates: iters.map((count, index) => (count * elements * 1e9) / times[index]),
    })
  }
  return found
}
