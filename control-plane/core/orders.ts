import type { InstanceType } from '../../shared/instance-spec.ts'
import type { JobSpec } from '../../shared/job-spec.ts'
import type { AuditActor } from './audit.ts'
import type { Caller } from './caller.ts'
import type { Accepted, AcceptedDataset, Dataset, Origin } from './datasets.ts'
import type { KeyedPlace } from './idempotency.ts'
import type { NewInstanceBackup } from './instance-backup-state.ts'
import type { KeptInstance } from './instances.ts'
import type { PointInfo, PointSource } from './points.ts'
import type { NewVolumeBackup } from './volume-backups.ts'

/** A dataset row as the decision sees it, locked until the order is placed. */
export type LockedDataset = Dataset & {
  readonly hostId: string
  readonly poolId: string
  readonly localPool: string
  /** A snapshot of an instance that it is part of. */
  readonly partOf: string | null
}

/** What an order may decide on: the datasets it named and, for those that have one, their origins. */
export interface Findings extends PointFindings {
  named(name: string): LockedDataset | undefined
  withId(id: string): LockedDataset | undefined
  /** One that the order named, of its group. */
  instance(id: string): KeptInstance | undefined
}

export interface NewDataset {
  readonly id: string
  readonly name: string
  readonly pool: { readonly id: string } & Pick<Dataset, 'host' | 'pool' | 'driver' | 'capabilities'>
  readonly isSnapshot: boolean
  readonly readonly: boolean
  readonly origin: Origin | null
  readonly tags: Readonly<Record<string, string>>
  /** Given for `root` alone; everything else takes the next number. */
  readonly ordinal?: number
}

/** A point's row as a decision sees it, locked until the order is placed. */
export interface LockedPoint {
  readonly id: string
  readonly groupId: string
  readonly seriesId: string
  readonly series: string
  readonly name: string
  readonly hostId: string
  readonly host: string
  readonly targetId: string | null
  readonly status: PointInfo['status']
  readonly isDeleting: boolean
  /** Deleted by retention; its bytes are still there. */
  readonly isTrashed: boolean
  /** Somebody wants it back; it is trashed until it is. */
  readonly isReturning: boolean
  readonly isDamaged: boolean
  readonly pinned: boolean
  readonly encrypted: boolean
  /** Of its `sums`, where its agent told it. */
  readonly sumsSha256: string | null
  /** Ids of its bases, oldest first; the last is the one it completes. */
  readonly chain: readonly string[]
  readonly version: number
}

/** Points that an order reads: those named with their bases and direct dependants, and the newest of a series. */
export interface PointFindings {
  withPointId(id: string): LockedPoint | undefined
  /** Those that complete it: it cannot go before them. */
  dependants(id: string): readonly LockedPoint[]
  /** Of the order's series, by name: the newest of all, and the newest that an increment may complete. */
  newest(): LockedPoint | undefined
  newestGood(): LockedPoint | undefined
  /** Of the order's series: those in which damage was found, the newest of them if there are very many. */
  damaged(): readonly LockedPoint[]
}

/** A directory of a target that one source's points share. */
export interface PointSeries {
  readonly id: string
  readonly targetId: string | null
  readonly hostId: string
  readonly directory: string
}

export interface NewPoint {
  readonly id: string
  readonly name: string
  readonly source: PointSource
  readonly chain: readonly string[]
  readonly fullReason: string | null
  /** The schedule that it is made for. */
  readonly scheduleId: string | null
}

/** One that a job makes; what its agent calls it is known when that has ended. */
export interface NewInstance {
  readonly id: string
  readonly type: InstanceType
  readonly name: string
}

/** A job's claim on one dataset, point, series or instance: many may share, one may have it alone. */
export interface Hold {
  readonly lane: string
  readonly exclusive: boolean
}

/** What is to be written when an order is accepted: one job, and at most one dataset made or marked for deletion. */
export interface Decision {
  readonly create?: NewDataset
  readonly remove?: { readonly id: string }
  /** Ids of datasets that nobody needs once the job has succeeded: they are deleted then. For orders with points. */
  readonly supersedes?: readonly string[]
  /** A point made in the order's series, or one marked for deletion. */
  readonly point?: { readonly create: NewPoint } | { readonly remove: string }
  /** On the order's host: an instance that is made for the order's group, or the id of one that another takes the place of. */
  readonly instance?: { readonly create: NewInstance } | { readonly replace: string }
  /** What the client asked, in core's words; a retry asks it again. */
  readonly request: unknown
  readonly spec: JobSpec
  readonly host: { readonly id: string; readonly name: string }
  /** The dataset it makes, changes, deletes or reads; null for a job about none. */
  readonly subject: { readonly id: string; readonly name: string } | null
  readonly holds: readonly Hold[]
  /** The client waits for it: start soon or not at all. */
  readonly interactive: boolean
  readonly retryOf?: string
}

/**
 * What waits for this job, and is linked to it in the transaction that places it: a schedule's run, the verification of its point, a
 * restore task, a step of an instance's move (whose id is the step's), a loan of a LUN that is written, or a volume's backup. When that has its job already, or was
 * stopped, the order is refused as conflict.
 */
export type OrderTask =
  | BackupTask
  | InstanceBackupTask
  | {
      readonly kind: 'run' | 'verify' | 'restore' | 'move' | 'lend'
      readonly id: string
      /** When it is linked, epoch ms. */
      readonly atMs: number
    }

/** The job makes a point of an instance's backup. */
export interface InstanceBackupTask {
  readonly kind: 'instance-backup'
  readonly id: string
  readonly atMs: number
  /** Of the instance, as it is now; absent: as it was when that was asked last. */
  readonly state?: string
  /** The first point: the backup is made with it. */
  readonly made?: NewInstanceBackup
  /** The only one that will do: the order is refused as stale when it has another. */
  readonly version?: number
}

/** The job makes a point of a volume's backup. */
export interface BackupTask {
  readonly kind: 'backup'
  readonly id: string
  readonly atMs: number
  /** Of the volume, as it is now; absent: as it was when that was asked last. */
  readonly sizeBytes?: number
  /** The first point: the backup is made with it. */
  readonly made?: NewVolumeBackup
  /** The only one that will do: the order is refused as stale when it has another. */
  readonly version?: number
  /** What is borrowed for it: the order is refused as conflict unless that waits for it. */
  readonly loan?: string
}

/**
 * A request as the order book wants it: what to read, and a pure decision over what was read. Orders that arrive together
 * are decided and written together, in one transaction.
 */
export interface Order {
  readonly groupId: string
  /** Who asks, for the job and its audit row. */
  readonly by: AuditActor
  /** Names of datasets to read and lock. */
  readonly names: readonly string[]
  /** Points to read and lock, and the series of a new one. Such orders are decided one at a time. */
  readonly points?: { readonly ids: readonly string[]; readonly series?: PointSeries }
  /** Ids of instances to read. Such orders are decided one at a time. */
  readonly instances?: readonly string[]
  /** What an earlier request under this key has placed is the answer; else this is kept beside it. */
  readonly key?: KeyedPlace
  /** For orders with points or instances. */
  readonly task?: OrderTask | undefined
  /** `decide` looks at more than a version stands for: only rows that are locked will do. */
  readonly isExact?: boolean
  /** @throws FleetError to refuse; nothing is written then. */
  decide(findings: Findings): Decision
}

/** An order in the name of `caller`, for its group. */
export function orderOf(caller: Caller, names: readonly string[], decide: Order['decide']): Order {
  const order = { groupId: caller.groupId, by: caller, names, decide }
  const { key } = caller
  return key === undefined ? order : { ...order, key: { hash: key.hash, holder: key.holder, n: key.next() } }
}

export interface OrderBook {
  /** Resolves once the job is durable. @throws what `decide` throws; exists when the new dataset's name is taken. */
  place(order: Order): Promise<Accepted>
  /** The same for an order that makes a dataset. */
  placeNew(order: Order): Promise<AcceptedDataset>
}
