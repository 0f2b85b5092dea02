import type { DriverName } from '../../shared/wire/messages.ts'
import type { Caller } from './caller.ts'
import type { Condition } from './condition.ts'
import type { Accepted } from './datasets.ts'
import type { Page, PageRequest } from './page.ts'
import type { VolumeRow } from './volume-book.ts'

/** A block device of a pool, as Postgres knows it. */
export interface VolumeInfo {
  readonly id: string
  readonly groupId: string
  /** Below its pool; what clients call it is `<pool>/<name>`. */
  readonly name: string
  readonly sizeBytes: number
  readonly state: 'creating' | 'available' | 'deleting'
  readonly host: string
  readonly pool: string
  readonly driver: DriverName
  /** On its host; null until it is there. For admins only. */
  readonly device: string | null
  /** Its host's own mark of it; null until it is there. */
  readonly guid: string | null
  /** `<pool>/<name>@<snapshot>`, as it was called when it was cloned. */
  readonly origin: string | null
  readonly createdAt: Date
  /** Grows with every change of the row. */
  readonly version: number
}

export interface VolumeSnapshotInfo {
  readonly id: string
  readonly groupId: string
  readonly volumeId: string
  /** Behind the `@`. */
  readonly name: string
  /** `<pool>/<volume>@<name>`. */
  readonly path: string
  readonly sizeBytes: number
  readonly state: 'creating' | 'available' | 'deleting'
  readonly createdAt: Date
  readonly version: number
}

export interface CreateVolume {
  /** One that nobody has; absent: it gets one. */
  readonly id?: string | undefined
  /** Below the pool. */
  readonly name: string
  readonly sizeBytes: number
  readonly pool?: string | undefined
  readonly host?: string | undefined
  readonly createParent?: boolean | undefined
}

export interface CloneVolume {
  /** As of `CreateVolume`. */
  readonly id?: string | undefined
  /** `<pool>/<volume>@<snapshot>`, also one that nobody made through us. */
  readonly source: string
  /** Below the same pool. */
  readonly name: string
  /** It grows to this; default: as large as the snapshot. @throws conflict where that is larger */
  readonly sizeBytes?: number | undefined
  readonly createParent?: boolean | undefined
  /** It was taken for this clone alone, and goes with its end, where the pool's clones can do without. */
  readonly discardSource?: boolean | undefined
}

export interface RestoreVolume {
  /** Of a new one; as of `CreateVolume`. */
  readonly id?: string | undefined
  /** A point of a volume. */
  readonly point: string
  /** `<pool>/<name>`. */
  readonly volume: string
  /** Default: as large as the point's. */
  readonly sizeBytes?: number | undefined
  /** Another takes the place of the one that stands there; default false. */
  readonly overwrite?: boolean | undefined
  readonly createParent?: boolean | undefined
}

export type VolumeCondition = Condition<VolumeInfo>

/**
 * Volumes of the caller's group. What stands in a pool and has no row here belongs to the fleet: those with a role over it may name it.
 * Mutations answer as soon as the job is durable. `path` is `<pool>/<name>`.
 */
export interface Volumes {
  /** @throws invalid, exists, not_found (host or pool), unavailable. */
  create(caller: Caller, request: CreateVolume): Promise<Accepted & { readonly volume: VolumeInfo }>
  /** @throws invalid, exists, not_found, unavailable. */
  clone(caller: Caller, request: CloneVolume): Promise<Accepted & { readonly volume: VolumeInfo }>
  /** @throws not_found, conflict (smaller, or being made or deleted), stale. */
  resize(caller: Caller, path: string, sizeBytes: number, ifMatch?: VolumeCondition): Promise<Accepted>
  /** @throws not_found, stale, conflict with `blockers`: exports, snapshots, clones. Never recursive. */
  delete(caller: Caller, path: string, ifMatch?: VolumeCondition): Promise<Accepted>
  snapshot(caller: Caller, path: string, name: string): Promise<Accepted & { readonly snapshot: VolumeSnapshotInfo }>
  /** @throws not_found, conflict with `blockers`: its clones. */
  deleteSnapshot(caller: Caller, path: string, name: string): Promise<Accepted>
  /**
   * The volume becomes what it was at its snapshot `name`; what it was before stays as the snapshot `safety`. Newer snapshots stay.
   * @throws not_found, conflict (somebody is logged in to an export of it), unavailable
   */
  rollback(caller: Caller, path: string, name: string): Promise<Accepted & { readonly safety: VolumeSnapshotInfo }>
  /** @throws invalid (no point of a volume), not_found, conflict (the point; or the volume is in use), exists (without `overwrite`), unavailable */
  restore(caller: Caller, request: RestoreVolume): Promise<Accepted & { readonly volume: VolumeInfo }>
  /** By id or path. @throws not_found. */
  get(caller: Caller, idOrPath: string): Promise<VolumeInfo>
  /** By path. */
  list(
    caller: Caller,
    filter: { readonly pool?: string | undefined; readonly host?: string | undefined },
    page: PageRequest,
  ): Promise<Page<VolumeInfo>>
  snapshots(caller: Caller, path: string, page: PageRequest): Promise<Page<VolumeSnapshotInfo>>
  /** What a pool holds, asked of its host this moment, whoever made it: for those with a role over the fleet. @throws unavailable */
  standing(
    caller: Caller,
    pool: string,
    page: PageRequest,
  ): Promise<
    Page<{
      readonly path: string
      readonly sizeBytes: number
      readonly snapshots: readonly string[]
      readonly origin: string | null
    }>
  >
}

/** What Postgres must answer for volumes. `groupId` null: of any group. */
export interface VolumeReader {
  /** By id or path; of a path the one that stands or is being made, else one that goes. */
  find(groupId: string | null, idOrPath: string): Promise<VolumeRow | undefined>
  /** The same of snapshots. */
  snapshot(groupId: string | null, idOrPath: string): Promise<VolumeSnapshotInfo | undefined>
  list(
    groupId: string | null,
    filter: { readonly pool?: string | undefined; readonly host?: string | undefined },
    page: PageRequest,
  ): Promise<Page<VolumeRow>>
  snapshots(volumeId: string, page: PageRequest): Promise<Page<VolumeSnapshotInfo>>
}

/** What an order that is tried again was about: not what has its name by now. */
export type OnlyThat = Condition<{ readonly id: string }>

/** What dialects do not need: retries. */
export interface VolumeOrders extends Volumes {
  create(caller: Caller, request: CreateVolume, retryOf?: string): Promise<Accepted & { readonly volume: VolumeInfo }>
  clone(caller: Caller, request: CloneVolume, retryOf?: string): Promise<Accepted & { readonly volume: VolumeInfo }>
  resize(
    caller: Caller,
    path: string,
    sizeBytes: number,
    ifMatch?: VolumeCondition,
    retryOf?: string,
  ): Promise<Accepted>
  delete(caller: Caller, path: string, ifMatch?: VolumeCondition, retryOf?: string): Promise<Accepted>
  snapshot(
    caller: Caller,
    path: string,
    name: string,
    retryOf?: string,
  ): Promise<Accepted & { readonly snapshot: VolumeSnapshotInfo }>
  /** @throws stale for another snapshot than `only`. */
  deleteSnapshot(caller: Caller, path: string, name: string, retryOf?: string, only?: OnlyThat): Promise<Accepted>
  /** @throws stale for another volume than `only`. */
  rollback(
    caller: Caller,
    path: string,
    name: string,
    retryOf?: string,
    only?: OnlyThat,
  ): Promise<Accepted & { readonly safety: VolumeSnapshotInfo }>
  /** @throws stale where it would replace another volume than `only`. */
  restore(
    caller: Caller,
    request: RestoreVolume,
    retryOf?: string,
    only?: OnlyThat,
  ): Promise<Accepted & { readonly volume: VolumeInfo }>
}
