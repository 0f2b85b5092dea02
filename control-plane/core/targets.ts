import type { TargetConfig, TargetSecret } from '../../shared/target-config.ts'
import type { TargetEntry } from '../../shared/wire/reads.ts'
import type { Caller } from './caller.ts'
import type { Condition } from './condition.ts'
import type { Page, PageRequest } from './page.ts'

/** Where archives go. `config.name` is its name. Its secret is sealed and never told. */
export interface TargetInfo {
  readonly id: string
  /** A small number, unique over the fleet: what dialects with integer ids show. */
  readonly number: number
  readonly groupId: string
  readonly name: string
  readonly description: string
  readonly config: TargetConfig
  readonly hasSecret: boolean
  /** age recipients: with any, new points are encrypted. */
  readonly recipients: readonly string[]
  /** Whether the fleet holds an identity that opens what it encrypts. */
  readonly hasIdentity: boolean
  readonly createdAt: Date
  readonly version: number
}

export interface CreateTarget {
  readonly config: unknown
  readonly description?: string | undefined
  readonly secret: TargetSecret
  readonly recipients?: readonly string[] | undefined
}

/** Absent members stay; `secret` is merged member by member. */
export interface ChangeTarget {
  readonly config?: unknown
  readonly description?: string | undefined
  readonly secret?: TargetSecret | undefined
  readonly recipients?: readonly string[] | undefined
}

export interface TargetHealth {
  readonly alive: boolean
  readonly reason: string | null
  readonly freeBytes: number | null
}

export type TargetCondition = Condition<TargetInfo>

/** Targets of the caller's group; changes need the role operator. `id` is the uuid or the number, as text. */
export interface Targets {
  /** An SFTP target without a host key is pinned to the one its server shows now. @throws invalid, exists (name), unavailable (no agent could ask for the host key) */
  create(caller: Caller, request: CreateTarget): Promise<TargetInfo>
  get(caller: Caller, id: string): Promise<TargetInfo>
  list(caller: Caller, page: PageRequest): Promise<Page<TargetInfo>>
  update(caller: Caller, id: string, change: ChangeTarget, ifMatch?: TargetCondition): Promise<TargetInfo>
  /** @throws conflict (points lie there: `blockers`), stale */
  delete(caller: Caller, id: string, ifMatch?: TargetCondition): Promise<void>
  /** Asked of an agent; never throws for a target that cannot be reached. @throws unavailable when no agent is online */
  ping(caller: Caller, id: string): Promise<TargetHealth>
  /** @throws unavailable, not_found, invalid */
  browse(caller: Caller, id: string, path: string, page: PageRequest): Promise<Page<TargetEntry>>
  /** The group's directory below a host's backup root. @throws unavailable, not_found (host); invalid when several hosts are there and none is named */
  browseLocal(caller: Caller, host: string | undefined, path: string, page: PageRequest): Promise<Page<TargetEntry>>
}
