import { FleetError } from '../../shared/errors.ts'
import type { Capabilities, DriverName } from '../../shared/wire/messages.ts'

/** A pool as placement sees it this second. */
export interface LivePool {
  readonly id: string
  readonly name: string
  /** The agent's own name of it. */
  readonly localName: string
  readonly host: { readonly id: string; readonly name: string }
  readonly driver: DriverName
  readonly capabilities: Capabilities
  readonly freeBytes: number
  /** Its host is heard, and does not drain. */
  readonly accepts: boolean
}

/** A host as placement sees it this second. */
export interface LiveHost {
  readonly id: string
  readonly name: string
  readonly isOnline: boolean
  /** Prefixes that end with a slash: below them restores may write, and directories may be backed up. */
  readonly restorePaths: readonly string[]
  readonly sourcePaths: readonly string[]
  /** Absolute; points without a target lie below it. Null: it keeps none. */
  readonly backupRoot: string | null
  /** The iSCSI name as whom it logs in to LUNs of other services. Null: it cannot. */
  readonly initiator: string | null
}

/** Who is there, by the beats this replica hears. */
export interface FleetView {
  isOnline(host: string): boolean
  isDraining(host: string): boolean
  knows(host: string): boolean
  host(name: string): LiveHost | undefined
  hosts(): Iterable<LiveHost>
  pool(name: string): LivePool | undefined
  pools(): Iterable<LivePool>
}

/** @throws unavailable when orders for `host` would only wait. */
export function requireOnline(fleet: FleetView, host: string): void {
  if (!fleet.isOnline(host)) throw new FleetError('unavailable', `host '${host}' is offline`)
}

/** One that is heard, whichever. @throws unavailable when none is. */
export function anyOnline(fleet: FleetView): LiveHost {
  for (const host of fleet.hosts()) if (host.isOnline) return host
  throw new FleetError('unavailable', 'no host is online')
}

/** @throws unavailable when `host` gets no new datasets now, also none that are made of those it has. */
export function requireAccepting(fleet: FleetView, host: string): void {
  requireOnline(fleet, host)
  if (fleet.isDraining(host)) throw new FleetError('unavailable', `host '${host}' is draining`)
}

/**
 * The pool that takes a new dataset: the named one, or the one with most free bytes, of the named host or any.
 * @throws not_found for a name nobody has; unavailable when what was asked for is offline or draining.
 */
export function choosePool(
  fleet: FleetView,
  wish: { readonly host?: string | undefined; readonly pool?: string | undefined },
): LivePool {
  if (wish.host !== undefined && !fleet.knows(wish.host)) {
    throw new FleetError('not_found', `there is no host '${wish.host}'`, { field: 'host' })
  }
  if (wish.pool !== undefined) {
    const pool = fleet.pool(wish.pool)
    if (pool === undefined || (wish.host !== undefined && pool.host.name !== wish.host)) {
      throw new FleetError('not_found', `there is no pool '${wish.pool}'`, { field: 'pool' })
    }
    if (!pool.accepts) throw new FleetError('unavailable', `host '${pool.host.name}' is offline or draining`)
    return pool
  }
  let best: LivePool | undefined
  for (const pool of fleet.pools()) {
    if (!pool.accepts || (wish.host !== undefined && pool.host.name !== wish.host)) continue
    if (best === undefined || pool.freeBytes > best.freeBytes) best = pool
  }
  if (best === undefined) {
    const who =
      wish.host === undefined
        ? 'no host with a pool is online'
        : `host '${wish.host}' is offline, drains or has no pool`
    throw new FleetError('unavailable', who)
  }
  return best
}
