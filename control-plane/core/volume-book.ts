import type { ErrorCode } from '../../shared/errors.ts'
import type { DriverName } from '../../shared/wire/messages.ts'
import type { AuditActor } from './audit.ts'
import type { KeyedPlace } from './idempotency.ts'
import type { Decision, PointFindings } from './orders.ts'

type State = 'creating' | 'available' | 'deleting'

/** Rows as decisions see them: nobody else changes any of them until theirs is written. */
export interface VolumeRow {
  readonly id: string
  readonly groupId: string
  /** `<pool>/<name>`. */
  readonly path: string
  readonly lane: string
  readonly sizeBytes: number
  readonly state: State
  readonly device: string | null
  readonly guid: string | null
  readonly origin: string | null
  readonly hostId: string
  readonly host: string
  readonly poolId: string
  readonly pool: string
  readonly localPool: string
  readonly driver: DriverName
  readonly createdAt: Date
  readonly version: number
}

export interface VolumeSnapshotRow {
  readonly id: string
  /** A snapshot of an instance that it is part of. */
  readonly partOf: string | null
  readonly groupId: string
  readonly volumeId: string
  readonly name: string
  readonly path: string
  readonly sizeBytes: number
  readonly guid: string | null
  readonly state: State
  readonly createdAt: Date
  readonly version: number
}

export interface ExportRow {
  readonly id: string
  readonly groupId: string
  readonly wwn: string
  /** A volume's path. */
  readonly volume: string
  readonly initiators: readonly string[]
  readonly chapUser: string | null
  readonly isReadonly: boolean
  readonly secretId: string | null
  readonly state: State
  readonly hostId: string
  readonly host: string
  readonly poolId: string
  readonly localPool: string
  readonly createdAt: Date
  readonly version: number
}

export type NewVolume = Pick<VolumeRow, 'id' | 'groupId' | 'poolId' | 'path' | 'lane' | 'sizeBytes' | 'origin'>
export type NewVolumeSnapshot = Pick<VolumeSnapshotRow, 'id' | 'groupId' | 'volumeId' | 'name' | 'path' | 'sizeBytes'>
export type NewExport = Pick<
  ExportRow,
  'id' | 'groupId' | 'poolId' | 'wwn' | 'volume' | 'initiators' | 'chapUser' | 'isReadonly'
>

export interface NewExportBatch {
  readonly id: string
  readonly type: 'create' | 'delete'
  readonly requested: number
  readonly done: readonly { readonly n: number; readonly volume: boolean }[]
  readonly errors: readonly { readonly n: number; readonly code: ErrorCode; readonly message: string }[]
}

/** What an order reads: rows of these names, whatever their states. */
export interface VolumeReads {
  readonly volumes?: readonly string[]
  readonly snapshots?: readonly string[]
  readonly wwns?: readonly string[]
  /** Paths of volumes of which is asked what rests on them. */
  readonly needed?: readonly string[]
  /** Paths of volumes that may be made, of which is asked whether somebody has exports there. */
  readonly free?: readonly string[]
  /** A host's name: all its exports, and whether jobs about some are open. */
  readonly exportsOf?: string
  /** Ids of points of the order's group, which nobody changes until it is placed. */
  readonly points?: readonly string[]
}

export interface VolumeFindings {
  /** The one that stands or is being made; else one that goes. */
  volume(path: string): VolumeRow | undefined
  snapshot(path: string): VolumeSnapshotRow | undefined
  export(wwn: string): ExportRow | undefined
  /** Of a volume that was asked for, as needed or free: its exports, those too that are being made. */
  exportsOf(path: string): readonly ExportRow[]
  /** Paths of snapshots and clones that stand or are being made. */
  snapshotsOf(path: string): readonly string[]
  /** That clients of the block API noted as having it. */
  serversOf(path: string): readonly string[]
  clonesOf(path: string): readonly { readonly path: string; readonly origin: string }[]
  /** Of the host that was asked for. */
  readonly hostExports: readonly ExportRow[]
  readonly hasOpenExportJobs: boolean
  /** False: it was told all of it a moment ago. */
  readonly mayReconcile: boolean
  readonly points: PointFindings
}

export interface PlannedJob {
  readonly id: string
  readonly decision: Decision
  /** CHAP secrets by wwn, to be kept and sealed beside its order. */
  readonly secrets?: Readonly<Record<string, string>> | undefined
}

/** All that is written when an order is accepted. */
export interface VolumePlan {
  readonly jobs: readonly PlannedJob[]
  readonly volumes?: readonly NewVolume[]
  readonly snapshots?: readonly NewVolumeSnapshot[]
  readonly exports?: readonly NewExport[]
  /** Ids of rows that go. */
  readonly removes?: {
    readonly volumes?: readonly string[]
    readonly snapshots?: readonly string[]
    readonly exports?: readonly string[]
  }
  readonly batch?: NewExportBatch
  /** The id of a host that is told what it is to export. */
  readonly reconciles?: string
}

export interface VolumeOrder {
  readonly groupId: string
  readonly by: AuditActor
  readonly key?: KeyedPlace
  readonly reads: VolumeReads
  /** @throws FleetError to refuse; nothing is written then. */
  decide(found: VolumeFindings): VolumePlan
}

export interface PlacedVolumeOrder {
  readonly jobIds: readonly string[]
  readonly batchId: string | undefined
}

/** Orders about volumes and exports: each decided and written in a transaction of its own, one after the other over the whole fleet. */
export interface VolumeBook {
  /** Resolves once its jobs are durable. @throws what `decide` throws; busy */
  place(order: VolumeOrder): Promise<PlacedVolumeOrder>
}
