/**
 * Who should vote in the metadata group: 5 of five members and more, 3 of three, otherwise 1, and no
 * more than the setting. Voters are of different zones, and they stay:
 *
 * - One that has been dead for longer than `replaceAfterMs` gives its seat to another, if there is
 *   one. A death alone never makes the group smaller: a smaller group would not stand more.
 * - One that drains or has left gives its seat to another at once. Where nobody can take it, it
 *   keeps it, as over a restart, for as long as those that stay are a majority by themselves;
 *   before they would not be, the group becomes smaller, while the one that goes can still agree.
 */

import { zoneOf } from './followers.js'
import { type Cast, HOLDER_ROLE, isPresent, type Watched } from './situation.js'

const SIZES = [5, 3, 1]

export interface Group {
  readonly leader: string
  readonly voters: readonly string[]
}

export function chooseVoters(
  cast: Cast,
  group: Group,
  settings: { readonly voters: number; readonly replaceAfterMs: number },
): string[] {
  const isFit = new Set(cast.holders.map(({ name }) => name))
  const isVoter = ({ name }: Watched) => group.voters.includes(name)
  const isGoing = ({ status, draining }: Watched) => status === 'left' || draining
  const current = group.voters
    .map((name) => cast.byName.get(name))
    .filter((member) => member !== undefined)
  const staying = current.filter((member) => !isGoing(member))
  const isFresh = ({ name, since }: Watched) =>
    isFit.has(name) || cast.now - since < settings.replaceAfterMs
  const fresh = sorted(staying.filter(isFresh), group.leader, isFit)
  const newcomers = byName(cast.holders.filter((member) => !isVoter(member)))
  const spare = [
    ...staying.filter((member) => !isFresh(member)),
    ...byName(current.filter(isGoing)),
  ]
  // The dead that never voted count, too: the group grows by who there is, not by who is up.
  const absent = [...cast.byName.values()].filter(
    (member) =>
      !isPresent(member) &&
      !isGoing(member) &&
      !isVoter(member) &&
      member.roles.includes(HOLDER_ROLE),
  )
  const known = current.length + newcomers.length + absent.length
  for (const size of SIZES) {
    if (size > Math.min(known, settings.voters)) continue
    const kept = spread(fresh, [], size)
    const filled = [...kept, ...spread(newcomers, kept, size - kept.length)]
    const chosen = [...filled, ...spare.slice(0, size - filled.length)]
    const firm = chosen.filter((member) => isFit.has(member.name) && !isGoing(member)).length
    if (chosen.length === size && (!chosen.some(isGoing) || 2 * firm > size)) return names(chosen)
  }
  // Nobody is fit: what is stays.
  return names(current)
}

function names(members: readonly Watched[]): string[] {
  return members.map(({ name }) => name).sort()
}

/** The leader first, then those who are there, so that the dead go first where some have to. */
function sorted(members: Watched[], leader: string, isFit: ReadonlySet<string>): Watched[] {
  const rank = ({ name }: Watched) => (name === leader ? 0 : isFit.has(name) ? 1 : 2)
  return byName(members).sort((a, b) => rank(a) - rank(b))
}

function byName(members: readonly Watched[]): Watched[] {
  return [...members].sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** That many of them, those of zones that have none yet before others. */
function spread(from: readonly Watched[], beside: readonly Watched[], wanted: number): Watched[] {
  const zones = new Set(beside.map((member) => zoneOf(member, member.name)))
  const rest = [...from]
  const chosen: Watched[] = []
  while (chosen.length < wanted && rest.length > 0) {
    const at = Math.max(
      0,
      rest.findIndex((member) => !zones.has(zoneOf(member, member.name))),
    )
    const [next] = rest.splice(at, 1) as [Watched]
    chosen.push(next)
    zones.add(zoneOf(next, next.name))
  }
  return chosen
}
