import { FleetError } from '../../shared/errors.ts'
import type { Capabilities, DriverName } from '../../shared/wire/messages.ts'
import { type Caller, visibleGroup } from './caller.ts'
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
  /** A draining host finishes what it has and is given nothing new. */
  readonly draining: boolean
  readonly version: string
  readonly slots: number
  /** Where restores may write outside every dataset; empty for those without a role over the fleet. */
  readonly restorePaths: readonly string[]
  readonly lastSeenAt: Date | null
  readonly pools: readonly Pool[]
}

export interface Hosts {
  /** By name. */
  list(caller: Caller, page: PageRequest): Promise<Page<Host>>
  /** By id or name. @throws not_found. */
  get(caller: Caller, idOrName: string): Promise<Host>
  pools(caller: Caller, page: PageRequest): Promise<Page<Pool>>
  /** By id or name. @throws not_found. */
  pool(caller: Caller, idOrName: string): Promise<Pool>
}

/** What Postgres must answer for hosts. */
export interface HostReader {
  find(idOrName: string): Promise<Host | undefined>
  page(request: PageRequest): Promise<Page<Host>>
  poolPage(request: PageRequest): Promise<Page<Pool>>
  findPool(idOrName: string): Promise<Pool | undefined>
}

/** Hosts and pools belong to the fleet, not to a tenant: every caller with a role may see them, but not paths on them. */
export function createHosts(reader: HostReader): Hosts {
  return {
    async list(caller, page) {
      const found = await reader.page(page)
      return { ...found, items: found.items.map((host) => shownTo(caller, host)) }
    },

    pools: (_caller, page) => reader.poolPage(page),

    async get(caller, idOrName) {
      const host = await reader.find(idOrName)
      if (host === undefined) throw new FleetError('not_found', `there is no host '${idOrName}'`)
      return shownTo(caller, host)
    },

    async pool(_caller, idOrName) {
      const pool = await reader.findPool(idOrName)
      if (pool === undefined) throw new FleetError('not_found', `there is no pool '${idOrName}'`)
      return pool
    },
  }
}

function shownTo(caller: Caller, host: Host): Host {
  return visibleGroup(caller) === null ? host : { ...host, restorePaths: [] }
}
