import { FleetError } from '../../shared/errors.ts'
import type { Capabilities, DriverName } from '../../shared/wire/messages.ts'
import { type Caller, requireFleetRole, visibleGroup } from './caller.ts'
import type { Condition } from './condition.ts'
import type { InstanceProblem } from './instance-fold.ts'
import type { Page, PageRequest } from './page.ts'

export interface Pool {
  readonly id: string
  /** Unique over the fleet: the agent's own name, or `<host>-<name>` when another host had it first. */
  readonly name: string
  readonly host: string
  readonly driver: DriverName
  readonly capabilities: Capabilities
  readonly sizeBytes: number
  readonly freeBytes: number
}

export interface Host {
  readonly id: string
  readonly name: string
  readonly state: 'online' | 'offline'
  /** A draining host goes on serving the datasets it has and gets no new ones. */
  readonly draining: boolean
  /** Until when NATS lets it in by the newest key it has; null: it has none, or NATS is not ours to let it in. */
  readonly credentialExpiresAt: Date | null
  readonly version: string
  readonly slots: number
  /** Where restores may write outside every dataset; empty for those without a role over the fleet. */
  readonly restorePaths: readonly string[]
  /** Below which directories may be backed up; empty for those without a role over the fleet. */
  readonly sourcePaths: readonly string[]
  /** Where points without a target lie, absolute. Null: it keeps none, or the caller has no role over the fleet. */
  readonly backupRoot: string | null
  readonly lastSeenAt: Date | null
  readonly pools: readonly Pool[]
  /** Why its instances are not known as they are now; empty for those without a role over the fleet. */
  readonly instanceProblems: readonly InstanceProblem[]
}

export interface Hosts {
  /** By name. */
  list(caller: Caller, page: PageRequest): Promise<Page<Host>>
  /** By id or name. @throws not_found. */
  get(caller: Caller, idOrName: string): Promise<Host>
  pools(caller: Caller, page: PageRequest): Promise<Page<Pool>>
  /** By id or name. @throws not_found. */
  pool(caller: Caller, idOrName: string): Promise<Pool>
  /** Sets whether it is given new datasets. What is so already stays. @throws forbidden, not_found. */
  drain(caller: Caller, idOrName: string, draining: boolean): Promise<Host>
  /**
   * Takes a host out of the fleet; it comes back by enrolment only. `force` gives up what it holds: unfinished jobs fail, and
   * its datasets, and the points that lie on it, are forgotten. What is on its disks stays as it is.
   * @throws forbidden, not_found, stale; conflict with `blockers` while it has any of them, unless forced.
   */
  remove(caller: Caller, idOrName: string, options: RemovalOptions): Promise<Removal>
}

export interface RemovalOptions {
  readonly force: boolean
  readonly ifMatch?: Condition<Host> | undefined
}

/** What was given up with a host. */
export interface Cleared {
  readonly failedJobs: number
  readonly forgottenDatasets: number
  /** Those that lie on it; points on targets stay. */
  readonly forgottenPoints: number
}

export interface Removal extends Cleared {
  readonly host: Pick<Host, 'id' | 'name'>
}

/** What Postgres must answer for hosts. Changes are written with their audit. */
export interface HostReader {
  find(idOrName: string): Promise<Host | undefined>
  page(request: PageRequest): Promise<Page<Host>>
  poolPage(request: PageRequest): Promise<Page<Pool>>
  findPool(idOrName: string): Promise<Pool | undefined>
  /** @returns false when it is so already. */
  setDraining(caller: Caller, host: Pick<Host, 'id' | 'name'>, draining: boolean): Promise<boolean>
}

/** What it takes to let go of a host. */
export interface HostRemoval {
  /**
   * Marks it removed and ends its credentials, in one transaction.
   * @returns what stands in the way: then nothing was done. @throws not_found, stale.
   */
  mark(
    caller: Caller,
    host: Pick<Host, 'id' | 'name'>,
    options: RemovalOptions,
  ): Promise<{ readonly blockers: readonly string[] }>
  /** Gives up what removed hosts still hold. Repeated by the sweep until nothing is left. */
  clear(): Promise<Cleared>
  /** Makes NATS turn it away. */
  enforce(): Promise<void>
}

export type HostNews = 'draining' | 'accepting' | 'removed'

/**
 * Hosts and pools belong to the fleet, not to a tenant: every caller with a role may see them, but not paths on them; changing
 * them takes a role over the fleet.
 */
export function createHosts(deps: {
  readonly reader: HostReader
  readonly removal: HostRemoval
  /** Has this replica know what was changed before the caller is answered; the others hear of it. */
  readonly reload: (host: string) => Promise<void>
  /** Tells the feed. */
  readonly tell: (host: string, news: HostNews) => Promise<void>
}): Hosts {
  const { reader, removal } = deps

  async function find(idOrName: string): Promise<Host> {
    const host = await reader.find(idOrName)
    if (host === undefined) throw noHost(idOrName)
    return host
  }

  return {
    async list(caller, page) {
      const found = await reader.page(page)
      return { ...found, items: found.items.map((host) => shownTo(caller, host)) }
    },

    pools: (_caller, page) => reader.poolPage(page),
    get: async (caller, idOrName) => shownTo(caller, await find(idOrName)),

    async pool(_caller, idOrName) {
      const pool = await reader.findPool(idOrName)
      if (pool === undefined) throw new FleetError('not_found', `there is no pool '${idOrName}'`)
      return pool
    },

    async drain(caller, idOrName, draining) {
      requireFleetRole(caller, 'operator')
      const host = await find(idOrName)
      const isNews = await reader.setDraining(caller, host, draining)
      if (isNews) {
        await deps.reload(host.name)
        await deps.tell(host.name, draining ? 'draining' : 'accepting')
      }
      return find(host.id)
    },

    async remove(caller, idOrName, options) {
      requireFleetRole(caller, 'admin')
      const host = await find(idOrName)
      const { blockers } = await removal.mark(caller, host, options)
      if (blockers.length > 0) {
        const message = `host '${host.name}' still has datasets, points or unfinished jobs; 'force' gives them up`
        throw new FleetError('conflict', message, { blockers })
      }
      await removal.enforce()
      const cleared = await removal.clear()
      await deps.reload(host.name)
      await deps.tell(host.name, 'removed')
      return { host: { id: host.id, name: host.name }, ...cleared }
    },
  }
}

export function noHost(idOrName: string): FleetError {
  return new FleetError('not_found', `there is no host '${idOrName}'`)
}

function shownTo(caller: Caller, host: Host): Host {
  return visibleGroup(caller) === null
    ? host
    : { ...host, restorePaths: [], sourcePaths: [], backupRoot: null, instanceProblems: [] }
}
