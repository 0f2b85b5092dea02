import type { AuditActor } from './audit.ts'
import type { KeyedPlace } from './idempotency.ts'
import type { InstanceSnapshotInfo } from './instance-captures.ts'
import type { KeptInstance } from './instances.ts'
import type { Decision, LockedDataset, NewDataset } from './orders.ts'
import type { NewVolumeSnapshot, VolumeRow } from './volume-book.ts'

/** What an order about a snapshot of an instance reads, and locks until it is placed. */
export interface CaptureReads {
  readonly instance?: string
  /** Ids. */
  readonly datasets?: readonly string[]
  readonly snapshot?: string
}

/** A part that is there, with all that it takes to delete it. */
export type StandingPart =
  | { readonly kind: 'dataset'; readonly dataset: LockedDataset }
  | {
      readonly kind: 'volume'
      readonly id: string
      readonly name: string
      readonly state: 'creating' | 'available' | 'deleting'
      readonly volume: VolumeRow
      /** Paths. */
      readonly clones: readonly string[]
    }

/** `jobId`: the one that made it, or deletes it. */
export type KeptSnapshotOfInstance = InstanceSnapshotInfo & { readonly jobId: string | null }

export interface CaptureFindings {
  readonly instance: KeptInstance | undefined
  dataset(id: string): LockedDataset | undefined
  /** Attached to the instance, by path. */
  readonly volumes: readonly VolumeRow[]
  /** What it sees those as that are disks of a domain. */
  readonly disks: ReadonlySet<string>
  readonly snapshot: KeptSnapshotOfInstance | undefined
  /** Of the snapshot: those that are there, in their sequence. */
  readonly parts: readonly StandingPart[]
}

export interface NewInstanceSnapshot
  extends Pick<InstanceSnapshotInfo, 'id' | 'groupId' | 'name' | 'instanceId' | 'instance' | 'leftOut'> {
  /** Root first. */
  readonly parts: readonly { readonly kind: 'dataset' | 'volume'; readonly id: string; readonly sourceId: string }[]
}

/** All that is written when it is accepted. */
export interface CapturePlan {
  readonly job?: { readonly id: string; readonly decision: Decision }
  readonly snapshot?: NewInstanceSnapshot
  readonly datasets?: readonly NewDataset[]
  readonly volumeSnapshots?: readonly NewVolumeSnapshot[]
  /** It goes, by the job, or at once where there is none. */
  readonly removes?: { readonly id: string; readonly parts: readonly string[] }
}

export interface CaptureOrder {
  readonly groupId: string
  readonly by: AuditActor
  readonly key?: KeyedPlace
  readonly reads: CaptureReads
  /** @throws FleetError to refuse; nothing is written then. */
  decide(found: CaptureFindings): CapturePlan
}

export interface CaptureBook {
  /** Resolves once it is durable. @throws what `decide` throws; busy @returns undefined: it took no job */
  place(order: CaptureOrder): Promise<{ readonly jobId: string | undefined }>
}

/** What Postgres must answer for snapshots of instances. */
export interface CaptureReader {
  find(groupId: string, id: string): Promise<InstanceSnapshotInfo | undefined>
  madeBy(groupId: string, jobId: string): Promise<InstanceSnapshotInfo | undefined>
  list(
    groupId: string,
    filter: { readonly instanceId?: string | undefined },
    page: { readonly limit: number; readonly cursor?: string | undefined },
  ): Promise<{ readonly items: readonly InstanceSnapshotInfo[]; readonly nextCursor: string | null }>
}
