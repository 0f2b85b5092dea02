import type { InstanceType } from '../../shared/instance-spec.ts'
import type { Caller } from './caller.ts'
import type { Condition } from './condition.ts'
import type { Accepted } from './datasets.ts'
import type { KeptJob } from './jobs.ts'
import type { Page, PageRequest } from './page.ts'

/** What instance snapshots and instance backups share. */
interface Capture {
  readonly id: string
  readonly groupId: string
  readonly name: string
  /** It may be gone by now. */
  readonly instanceId: string
  readonly instance: { readonly type: InstanceType; readonly name: string; readonly host: string }
  readonly failReason: string | null
  /**
   * How its parts belong together: `frozen` and `stopped` are one instant of one that stood still; `crash` is as after a power cut, each
   * part at its own moment; null before that is known.
   */
  readonly consistency: 'frozen' | 'stopped' | 'crash' | null
  readonly createdAt: Date
  readonly updatedAt: Date
  readonly version: number
}

export interface InstanceSnapshotInfo extends Capture {
  readonly status: 'creating' | 'available' | 'error' | 'deleting'
  /** Root first. Of a dataset that is the instance's own, or of a volume that is attached to it. */
  readonly parts: readonly {
    readonly kind: 'dataset' | 'volume'
    /** Of the part's own snapshot: a volume snapshot's is the block API's. */
    readonly id: string
    /** Of what it was taken of. */
    readonly sourceId: string
    /** 0 for datasets, of which nobody knows. */
    readonly sizeBytes: number
    readonly status: 'creating' | 'available' | 'error' | 'deleting'
  }[]
  /** Where in it something is mounted that lies in no dataset of its group, and is not in the snapshot; `/` is its root. The first hundred. */
  readonly leftOut: readonly string[]
}

export interface InstanceBackupInfo extends Capture {
  readonly status: 'creating' | 'available' | 'error' | 'deleting' | 'restoring'
  readonly isIncremental: boolean
  readonly target: { readonly id: string; readonly name: string } | null
  readonly progressPercent: number | null
  /** Root first: a point of the instance itself, or a backup of a volume that is attached to it. */
  readonly parts: readonly {
    readonly kind: 'root' | 'volume'
    /** A volume backup's id, or that of the newest point of the root. */
    readonly id: string
    readonly sourceId: string
    readonly sizeBytes: number
    readonly status: 'creating' | 'available' | 'error' | 'deleting' | 'restoring'
  }[]
}

export interface CaptureInstance {
  readonly name: string
  /** Its id, or its name where one instance alone has it. */
  readonly instance: string
}

export interface BackUpInstance extends CaptureInstance {
  readonly target?: string | undefined
  readonly incremental?: boolean | undefined
}

/** Of the caller's group. Work answers as soon as it is durable; what failed half way is taken back and told as `error`. */
export interface InstanceSnapshots {
  /** @throws invalid, not_found, conflict (a state in which none is taken; nothing of it lies in a pool), unavailable. */
  create(caller: Caller, request: CaptureInstance): Promise<InstanceSnapshotInfo>
  /** Its parts too, in order. @throws not_found, conflict with `blockers`, stale */
  delete(caller: Caller, id: string, ifMatch?: Condition<InstanceSnapshotInfo>): Promise<void>
  get(caller: Caller, id: string): Promise<InstanceSnapshotInfo>
  list(
    caller: Caller,
    filter: { readonly instanceId?: string | undefined },
    page: PageRequest,
  ): Promise<Page<InstanceSnapshotInfo>>
}

export interface InstanceSnapshotOrders extends InstanceSnapshots {
  /** What a job that failed was to do, once more: another snapshot of that name, or what is left of one goes. @throws as `create` and `delete` */
  again(caller: Caller, job: Pick<KeptJob, 'id' | 'spec' | 'request'>): Promise<Accepted>
}

export interface InstanceBackups {
  /** @throws invalid, not_found, conflict, unavailable. */
  create(caller: Caller, request: BackUpInstance): Promise<InstanceBackupInfo>
  /** The next increment of all its parts, now. @throws invalid (not incremental), conflict (another one goes on), unavailable */
  update(caller: Caller, id: string, ifMatch?: Condition<InstanceBackupInfo>): Promise<void>
  delete(caller: Caller, id: string, ifMatch?: Condition<InstanceBackupInfo>): Promise<void>
  get(caller: Caller, id: string): Promise<InstanceBackupInfo>
  list(
    caller: Caller,
    filter: { readonly instanceId?: string | undefined },
    page: PageRequest,
  ): Promise<Page<InstanceBackupInfo>>
}
