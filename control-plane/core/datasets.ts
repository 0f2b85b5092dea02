import type { Capabilities, DriverName } from '../../shared/wire/messages.ts'
import type { Caller } from './caller.ts'

/** Where a snapshot or clone came from. `name` is null once that dataset is gone; its ordinal stays. */
export interface Origin {
  readonly id: string
  readonly ordinal: number
  readonly name: string | null
}

/** A dataset or a snapshot (which is one too) as Postgres knows it. */
export interface Dataset {
  readonly id: string
  /** Order of creation over the fleet; `root` is 0 in every group. */
  readonly ordinal: number
  readonly groupId: string
  readonly name: string
  readonly isSnapshot: boolean
  readonly readonly: boolean
  readonly origin: Origin | null
  readonly state: 'creating' | 'available' | 'deleting'
  readonly host: string
  readonly pool: string
  readonly driver: DriverName
  readonly capabilities: Capabilities
  /** Zero until it is available. */
  readonly rootInode: number
  readonly mountpoint: string
  /** `crash`: one instant; `fuzzy`: a walk over a tree that may have been written meanwhile. */
  readonly consistency: 'crash' | 'fuzzy'
  readonly tags: Readonly<Record<string, string>>
  readonly createdAt: Date
  /** Grows with every change of the row. */
  readonly version: number
}

/** Work that was accepted, and the dataset it makes. */
export interface Accepted {
  readonly jobId: string
}

export interface CreateDataset {
  readonly name: string
  readonly host?: string | undefined
  readonly pool?: string | undefined
  readonly tags?: Readonly<Record<string, string>> | undefined
}

/**
 * Datasets of the caller's group. Mutations answer as soon as the job is durable; `jobs.settled` waits for its end.
 * All throw forbidden for viewers, unavailable for an offline host.
 */
export interface Datasets {
  /** @throws invalid (name, tags), exists, not_found (host or pool), unavailable (no pool is online). */
  create(caller: Caller, request: CreateDataset): Promise<Accepted>
  /** A writable copy-on-write image of a dataset or snapshot. @throws not_found, exists, conflict (the source is being made or deleted). */
  clone(caller: Caller, request: { readonly source: string; readonly name: string }): Promise<Accepted>
  /** Works for snapshots too. @throws not_found, conflict (`root`, or dependants: `blockers`). */
  delete(caller: Caller, name: string): Promise<Accepted>
  /** Available ones only. @throws not_found. */
  get(caller: Caller, name: string): Promise<Dataset>
  /** Available ones only, snapshots included, by ordinal. */
  list(caller: Caller, filter?: { readonly snapshots?: boolean }): Promise<readonly Dataset[]>
}
