/**
 * What a member says of itself, as registers: text under keys. `LocalState` is what nodes of otlake
 * say; other keys may stand beside.
 */

/** What a service of a node says of its health. */
export type ServiceStatus = 'ok' | 'failing'

export interface LocalState {
  readonly roles: readonly string[]
  /** Where it stands; replicas are spread over zones. */
  readonly zone: string
  /** Address by protocol, such as `flight`. */
  readonly addresses: Readonly<Record<string, string>>
  readonly version: string
  /** Share of its processors in use, 0 to 1. */
  readonly load: number
  /** Share of its disk in use, 0 to 1. */
  readonly disk: number
  readonly services: Readonly<Record<string, ServiceStatus>>
  /** Damages to stored bytes that it has found since its start. */
  readonly corruptions: number
  /** Its local health, roughly: 0 (well), 4 or 8. The node sets it itself. */
  readonly health: number
}

/** Digits of a share; finer changes are not worth telling. */
const SHARE_DIGITS = 2

/** The registers of what is given; the rest stays as it was. */
export function toRegisters(state: Partial<LocalState>): Map<string, string> {
  const registers = new Map<string, string>()
  if (state.roles !== undefined) registers.set('roles', state.roles.join(','))
  if (state.zone !== undefined) registers.set('zone', state.zone)
  if (state.version !== undefined) registers.set('version', state.version)
  if (state.load !== undefined) registers.set('load', state.load.toFixed(SHARE_DIGITS))
  if (state.disk !== undefined) registers.set('disk', state.disk.toFixed(SHARE_DIGITS))
  if (state.corruptions !== undefined) registers.set('corruptions', String(state.corruptions))
  if (state.health !== undefined) registers.set('health', String(state.health))
  for (const [protocol, address] of Object.entries(state.addresses ?? {})) {
    registers.set(`address.${protocol}`, address)
  }
  for (const [service, status] of Object.entries(state.services ?? {})) {
    registers.set(`service.${service}`, status)
  }
  return registers
}

const number = (text: string | undefined) => {
  const value = Number(text ?? 0)
  return Number.isFinite(value) ? value : 0
}

/** The state that registers tell; what a member has not said is empty or 0. */
export function fromRegisters(registers: ReadonlyMap<string, string>): LocalState {
  const under = (prefix: string) =>
    [...registers]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => [key.slice(prefix.length), value] as const)
  const roles = registers.get('roles') ?? ''
  return {
    roles: roles === '' ? [] : roles.split(','),
    zone: registers.get('zone') ?? '',
    addresses: Object.fromEntries(under('address.')),
    version: registers.get('version') ?? '',
    load: number(registers.get('load')),
    disk: number(registers.get('disk')),
    services: Object.fromEntries(
      under('service.').map(([name, status]) => [name, status === 'ok' ? 'ok' : 'failing']),
    ),
    corruptions: number(registers.get('corruptions')),
    health: number(registers.get('health')),
  }
}
