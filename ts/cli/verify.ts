/** `otlake verify`: every segment, file and commit against its checksums, and what is damaged. */

import { type Finding, isDamage, type Tables, verify } from '../node/verify.js'
import { bold, dim, green, red } from './terminal.js'

const NAMES: Record<string, string> = {
  segment: 'log segments',
  commit: 'table log files',
  file: 'data files',
  window: 'resend windows',
  table: 'tables',
}

/** What is lost, and what to do, by the kind of what is damaged. */
const REMEDIES: Record<string, string> = {
  segment: 'the node skips the damaged records at start and keeps the rest',
  commit:
    'a damaged checkpoint is rebuilt from the commits at the next start; a damaged commit comes back from a backup',
  file: 'its rows are refused with TABLE_CORRUPT, never served; put it back from a backup',
  window: 'it is dropped at the next start; a resend from before it may be stored twice',
  table: 'put its _delta_log back from a backup',
}

/** Checks the folder; the exit code: 1 where anything is damaged. */
export async function runVerify(
  dataDir: string,
  tables: Tables,
  options: { json: boolean },
): Promise<number> {
  const counts = new Map<string, number>()
  const damage: Finding[] = []
  const unsummed: Finding[] = []
  let files = 0
  let bytes = 0
  let percent = 0
  for await (const finding of verify(dataDir, tables)) {
    if (options.json) console.log(JSON.stringify(finding))
    files += 1
    bytes += finding.bytes
    if (finding.kind) counts.set(finding.kind, (counts.get(finding.kind) ?? 0) + 1)
    if (isDamage(finding)) damage.push(finding)
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
  for (const { path, kind, message } of damage) {
    console.log(`${red('damaged')} ${bold(path ?? 'a file')}: ${message}`)
    if (kind) console.log(`  ${dim(REMEDIES[kind] ?? '')}`)
  }
  console.log(
    damage.length === 0 ? green('nothing is damaged') : red(`${damage.length} damaged file(s)`),
  )
  return damage.length > 0 ? 1 : 0
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
