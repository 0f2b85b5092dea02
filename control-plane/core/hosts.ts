import type { Capabilities, DriverName } from '../../shared/wire/messages.ts'
import type { Caller } from './caller.ts'
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
