/** `otlake verify`: every segment, file and commit against its checksums, and what is damaged. */

import { type AskCopies, type Finding, isDamage, type Tables, verify } from '../node/verify.js'
import { type Control, control } from './control.js'
import { bold, dim, green, red } from './terminal.js'

/** Files with too few copies that are named: of a node that is away there can be thousands. */
const SHOWN = 20
const NAMES: Record<string, string> = {
  segment: 'log segments',
  commit: 'table log files',
  file: 'data files',
  unnamed: 'data files that no table names',
  window: 'resend windows',
  decisions: 'files of sampling decisions',
  table: 'tables',
}

/** What is lost, and what to do, by the kind of what is damaged. */
const REMEDIES: Record<string, string> = {
  segment: 'the node skips the damaged records at start and keeps the rest',
  commit:
    'a damaged checkpoint is rebuilt from the commits at the next start; a damaged commit comes back from a backup',
  file: 'its rows are refused with TABLE_CORRUPT, never served; put it back from a backup',
  unnamed: 'nobody reads it; it is deleted with what else is not needed',
  window: 'it is dropped at the next start; a resend from before it may be stored twice',
  decisions:
    'the next start takes what is whole of it; late spans of the other traces are decided anew',
  table: 'put its _delta_log back from a backup',
}

/** The same where a cluster's nodes keep the tables. */
const COPIES_REMEDIES: Record<string, string> = {
  commit: 'a node that runs fetches it from another when it is read; start it',
  file: 'a node that runs reads it from another, and fetches it anew',
  missing: 'start the nodes that are away; what no disk has comes back from a backup',
  table: 'a node that runs fetches its log from the others; start it',
}

/** Checks the folder; the exit code: 1 where anything is damaged. */
export async function runVerify(
  dataDir: string,
  tables: Tables,
  options: { json: boolean; node: Control | null },
): Promise<number> {
  const counts = new Map<string, number>()
  const damage: Finding[] = []
  const unsummed: Finding[] = []
  const short: Finding[] = []
  let elsewhere = 0
  let files = 0
  let bytes = 0
  let percent = 0
  const { node } = options
  const ask: AskCopies | null = node && ((keys) => control(node, 'FindCopies', { keys }))
  for await (const finding of verify(dataDir, tables, ask)) {
    if (options.json) console.log(JSON.stringify(finding))
    if (isDamage(finding)) damage.push(finding)
    if (finding.outcome === 'under_replicated') short.push(finding)
    if (finding.outcome === 'elsewhere') elsewhere += 1
    // Those are not on this disk, or have been counted.
    if (['elsewhere', 'under_replicated', 'missing'].includes(finding.outcome)) continue
    files += 1
    bytes += finding.bytes
    if (finding.kind) counts.set(finding.kind, (counts.get(finding.kind) ?? 0) + 1)
    if (finding.outcome === 'no_checksum') unsummed.push(finding)
    const now = Math.floor((finding.checked_bytes / Math.max(1, finding.total_bytes)) * 10) * 10
    if (now > percent) {
      percent = now
      process.stderr.write(dim(`${now} % of ${megabytes(finding.total_bytes)} checked\n`))
    }
  }
  if (options.json) return damage.length > 0 ? 1 : 0
  const listed = [...counts].map(([kind, count]) => `${count} ${NAMES[kind] ?? kind}`)
  console.log(`${files} files (${listed.join(', ')}), ${megabytes(bytes)}`)
  if (unsummed.length > 0) {
    console.log(dim(`${unsummed.length} have no checksum: another writer left them`))
  }
  if (elsewhere > 0) {
    const who = node ? 'enough of them' : 'give --url to ask whether they do'
    console.log(dim(`${elsewhere} data files are for other nodes to have: ${who}`))
  }
  for (const { path, message } of short.slice(0, SHOWN)) {
    console.log(`${bold('too few copies')} ${path}: ${message}`)
  }
  if (short.length > 0) {
    const more =
      short.length > SHOWN ? `and ${short.length - SHOWN} more (--json names them); ` : ''
    console.log(dim(`  ${more}they get their copies once enough nodes are there`))
  }
  for (const finding of damage) {
    const { path, outcome, message } = finding
    const what = outcome === 'missing' ? 'missing' : 'damaged'
    console.log(`${red(what)} ${bold(path ?? 'a file')}: ${message}`)
    const remedy = remedyOf(finding)
    if (remedy) console.log(`  ${dim(remedy)}`)
  }
  console.log(
    damage.length === 0 ? green('nothing is damaged') : red(`${damage.length} damaged file(s)`),
  )
  return damage.length > 0 ? 1 : 0
}

/** What to do about a damaged or missing file. */
function remedyOf({ path, kind, outcome }: Finding): string {
  const isCopy = path?.startsWith('files/') === true
  const of = outcome === 'missing' ? 'missing' : (kind ?? '')
  return (isCopy ? COPIES_REMEDIES[of] : undefined) ?? REMEDIES[of] ?? ''
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
