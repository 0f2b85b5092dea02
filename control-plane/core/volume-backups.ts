import type { Caller } from './caller.ts'
import type { Condition } from './condition.ts'
import type { Accepted } from './datasets.ts'
import type { Page, PageRequest } from './page.ts'
import type { VolumeInfo, VolumeSnapshotInfo } from './volumes.ts'

export const VOLUME_BACKUP_STATUSES = ['creating', 'available', 'error', 'deleting', 'restoring'] as const
export type VolumeBackupStatus = (typeof VOLUME_BACKUP_STATUSES)[number]

/** A volume's backup: a series of points of its own, of which each `update` adds one. */
export interface VolumeBackupInfo {
  readonly id: string
  readonly groupId: string
  /** Any text; several may have the same. */
  readonly name: string
  /** It may be gone by now. */
  readonly volumeId: string
  /** `<pool>/<name>` of it, as it was called when the backup was made; of one behind us its name or id there. */
  readonly volume: string
  /** Whose the volume is in the block service behind us; null: it is one of the fleet's. */
  readonly project: string | null
  /** The snapshot that the first point was made of; null: of the volume as it was then. */
  readonly snapshotId: string | null
  /** Null: the host's own backup root. */
  readonly target: { readonly id: string; readonly name: string } | null
  readonly isIncremental: boolean
  /** As many good points are kept; 0: all. */
  readonly retention: number
  /** `error`: its newest point is none that it can be restored from; older ones may be. */
  readonly status: VolumeBackupStatus
  /** Of the volume when the newest good point was made; 0 before there is one. */
  readonly sizeBytes: number
  /** Of all its points, on their target. */
  readonly storedBytes: number
  /** Of the job that goes on, 0 to 100; null where none does or nobody knows. */
  readonly progressPercent: number | null
  /** Why the newest job about it failed, for a person to act on; null when it did not, and while one goes on. Never null in `error`. */
  readonly failReason: string | null
  /** A backup of an instance that it is part of. */
  readonly instanceBackupId: string | null
  /** Ids of its good points, oldest first. */
  readonly points: readonly string[]
  /** The newest job about it. */
  readonly jobId: string | null
  readonly createdAt: Date
  readonly updatedAt: Date
  /** Grows with every change, of what its jobs and points make of it too. */
  readonly version: number
}

export interface CreateVolumeBackup {
  readonly name: string
  /** Id or path. */
  readonly volume: string
  /** An id of one of its snapshots: that is what the first point is made of. */
  readonly snapshot?: string | undefined
  /** Default false: there is one point, and `update` is refused. */
  readonly incremental?: boolean | undefined
  /** Default 0. Not 1. */
  readonly retention?: number | undefined
  /** A target's id. */
  readonly target?: string | undefined
  /** Also of a volume that is attached. */
  readonly force?: boolean | undefined
}

export interface RestoreVolumeBackup {
  /** Of a new volume: `<pool>/<name>`. */
  readonly volume: string
  /** Default: as large as it was. */
  readonly sizeBytes?: number | undefined
  /** Over the volume that stands there. */
  readonly overwrite?: boolean | undefined
}

export type VolumeBackupCondition = Condition<VolumeBackupInfo>

/** Backups of the caller's group. Work answers as soon as its job is durable. All throw not_found for another group's. */
export interface VolumeBackups {
  /** @throws invalid, not_found (volume, snapshot, target), conflict (in use without `force`), unavailable. */
  create(caller: Caller, request: CreateVolumeBackup): Promise<Accepted & { readonly backup: VolumeBackupInfo }>
  /** The next increment, now. @throws invalid (not incremental), conflict (another job about it goes on; its volume is behind us), unavailable */
  update(caller: Caller, id: string, ifMatch?: VolumeBackupCondition): Promise<Accepted>
  /** Of its newest good point. @throws conflict (none, or another job about it goes on), exists, unavailable */
  restore(caller: Caller, id: string, request: RestoreVolumeBackup): Promise<Accepted & { readonly volume: VolumeInfo }>
  /** All its points. Not found once they are gone. @throws conflict with `blockers`: the instance backup that it is part of, a job about it that goes on, pinned points */
  delete(caller: Caller, id: string, ifMatch?: VolumeBackupCondition): Promise<void>
  get(caller: Caller, id: string): Promise<VolumeBackupInfo>
  /** Newest first. */
  list(
    caller: Caller,
    filter: { readonly volumeId?: string | undefined; readonly name?: string | undefined },
    page: PageRequest,
  ): Promise<Page<VolumeBackupInfo>>
}

/** What a backup of an instance asks of those that are its parts, at one instant: each is of a snapshot. */
export interface BackupPart {
  readonly instanceBackupId: string
  /** An id of a snapshot of the volume. */
  readonly snapshot: string
}

/** What dialects do not need. */
export interface VolumeBackupOrders extends VolumeBackups {
  create(
    caller: Caller,
    request: CreateVolumeBackup & { readonly instanceBackupId?: string | undefined },
  ): Promise<Accepted & { readonly backup: VolumeBackupInfo }>
  update(caller: Caller, id: string, ifMatch?: VolumeBackupCondition, part?: BackupPart): Promise<Accepted>
  /** @param instanceBackupId of the backup of an instance that goes, and it with that. */
  delete(caller: Caller, id: string, ifMatch?: VolumeBackupCondition, instanceBackupId?: string): Promise<void>
}

/** One as its row is made, in the transaction that orders its first point. */
export interface NewVolumeBackup {
  readonly id: string
  readonly groupId: string
  readonly name: string
  readonly volumeId: string
  readonly volume: string
  readonly snapshotId: string | null
  readonly targetId: string | null
  readonly isIncremental: boolean
  readonly retention: number
  readonly instanceBackupId: string | null
}

/** What Postgres must answer for backups of volumes. */
export interface VolumeBackupStore {
  find(groupId: string, id: string): Promise<VolumeBackupInfo | undefined>
  /** The one of which that job makes, or has made, a point. */
  madeBy(groupId: string, jobId: string): Promise<VolumeBackupInfo | undefined>
  list(
    groupId: string,
    filter: { readonly volumeId?: string | undefined; readonly name?: string | undefined },
    page: PageRequest,
  ): Promise<Page<VolumeBackupInfo>>
  /** By its id. */
  snapshot(groupId: string, id: string): Promise<VolumeSnapshotInfo | undefined>
  /** What has a volume in use, in words. */
  usersOf(volume: { readonly id: string; readonly path: string }): Promise<readonly string[]>
  /** Of the backup's points those that are pinned. */
  pinned(id: string): Promise<readonly string[]>
  /** That job restores it. */
  restoring(id: string, jobId: string): Promise<void>
  /** Marks it for deletion, with its audit. @returns undefined when it has another version by now. */
  remove(caller: Caller, backup: VolumeBackupInfo): Promise<true | undefined>
}
