/**
 * Who should vote in the metadata group: 5 of five members and more, 3 of three, otherwise 1, and no
 * more than the setting. Voters stay: one is replaced when it drains or leaves, or when it has
 * been dead for longer than `replaceAfterMs` and another can take its place. A death alone never makes
 * the group smaller: a smaller group would not stand more. Voters are of different zones.
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
  const members = [...cast.byName.values()]
  const isVoter = ({ name }: Watched) => group.voters.includes(name)
  const stays = (member: Watched) =>
    member.status !== 'left' &&
    !member.draining &&
    // Who is dead, or has just started, may not have said what it is; the group knows.
    (member.roles.includes(HOLDER_ROLE) || isVoter(member))
  const known = members.filter(
    (member) =>
      stays(member) && (member.group === cast.group || !isPresent(member) || isVoter(member)),
  )
  const isFit = new Set(cast.holders.map(({ name }) => name))
  const current = group.voters
    .map((name) => cast.byName.get(name))
    .filter((member) => member !== undefined)
    .filter(stays)
  const fresh = current.filter(
    ({ name, since }) => isFit.has(name) || cast.now - since < settings.replaceAfterMs,
  )
  const stale = current.filter((member) => !fresh.includes(member))
  const newcomers = cast.holders.filter((member) => !isVoter(member))
  const size = sizeFor(
    Math.min(known.length, fresh.length + newcomers.length + stale.length),
    settings.voters,
  )
  const chosen = spread(sorted(fresh, group.leader, isFit), [], Math.min(size, fresh.length))
  const filled = [...chosen, ...spread(byName(newcomers), chosen, size - chosen.length)]
  return [...filled, ...stale.slice(0, size - filled.length)].map(({ name }) => name).sort()
}

function sizeFor(available: number, most: number): number {
  return SIZES.find((size) => size <= Math.min(available, most)) ?? 1
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
