import type { Caller } from './caller.ts'
import type { Condition } from './condition.ts'
import type { Accepted } from './datasets.ts'
import type { Page, PageRequest } from './page.ts'

/** What a volume or a snapshot of one is called and said about by clients of the block API, who know it by its id. */
interface Described {
  readonly id: string
  readonly groupId: string
  /** Any text, or none; several may have the same. */
  readonly name: string | null
  readonly description: string | null
  readonly metadata: Readonly<Record<string, string>>
  /** Whole GiB, rounded up. */
  readonly sizeGib: number
  readonly createdAt: Date
  readonly updatedAt: Date | null
  readonly version: number
}

export interface BlockVolume extends Described {
  /** What it is called in the fleet: `<pool>/<name>`. */
  readonly path: string
  readonly host: string
  readonly pool: string
  /** Null for one that could not be made. */
  readonly poolId: string | null
  readonly status:
    | 'creating'
    | 'available'
    | 'reserved'
    | 'attaching'
    | 'detaching'
    | 'in-use'
    | 'deleting'
    | 'error'
    | 'error_deleting'
    | 'extending'
    | 'restoring-backup'
    | 'reverting'
  /** What it was made of; at most one of them. */
  readonly snapshotId: string | null
  readonly sourceVolumeId: string | null
  readonly backupId: string | null
  readonly isBootable: boolean
  readonly isReadonly: boolean
  readonly attachments: readonly BlockAttachment[]
}

/** Its snapshots' words are fewer. */
export type BlockStatus = BlockVolume['status']

export interface BlockSnapshot extends Described {
  /** `<pool>/<volume>@<name>`. */
  readonly path: string
  readonly volumeId: string
  readonly status: 'creating' | 'available' | 'deleting' | 'error' | 'error_deleting'
}

/** What clients noted: who has it, as what device; and what became of its connection, where that is part of it. */
export interface BlockAttachment {
  readonly id: string
  readonly volumeId: string
  /** Of a server: one of our instances, or anybody's. */
  readonly instanceId: string | null
  readonly hostName: string | null
  /** As it is called there. */
  readonly mountpoint: string | null
  readonly mode: 'rw' | 'ro'
  /** `reserved`: kept for it; `attaching`: its initiator is let in. */
  readonly state: 'reserved' | 'attaching' | 'attached'
  /** iSCSI name of who connects, also while that is not let in yet. */
  readonly initiator: string | null
  /** As its initiator was told, but for the secret. */
  readonly connection: {
    readonly targetIqn: string
    readonly portal: string
    readonly lun: number
    readonly chapUser: string | null
  } | null
  /** Its host tells so, of a domain that has the volume as a disk: it ends when that has it no more. */
  readonly isDisk?: boolean
  readonly attachedAt: Date | null
  readonly createdAt: Date
}

/** What an initiator needs to log in to a volume. */
export interface BlockConnection {
  readonly targetIqn: string
  /** `addr:port`. */
  readonly portal: string
  readonly lun: number
  /** CHAP, made for this connection; told to whoever asked for the connection, and to nobody else. */
  readonly auth: { readonly username: string; readonly password: string } | null
}

export interface CreateBlockVolume {
  readonly name?: string | null | undefined
  readonly description?: string | null | undefined
  readonly metadata?: Readonly<Record<string, string>> | undefined
  /** Default: as large as what it is made of; never smaller. */
  readonly sizeGib?: number | undefined
  readonly snapshotId?: string | undefined
  readonly sourceVolumeId?: string | undefined
  /** A volume backup's id. */
  readonly backupId?: string | undefined
  /** A pool's name; absent: the fleet places it. */
  readonly pool?: string | undefined
}

/** GiB of volumes and snapshots together. */
export interface BlockUsage {
  readonly volumes: number
  readonly snapshots: number
  readonly sizeGib: number
}

export type BlockVolumeCondition = Condition<BlockVolume>
export type BlockSnapshotCondition = Condition<BlockSnapshot>

export interface BlockFilter {
  readonly name?: string | undefined
  readonly status?: string | undefined
  /** Those that have all of these. */
  readonly metadata?: Readonly<Record<string, string>> | undefined
  /** Of snapshots. */
  readonly volumeId?: string | undefined
  readonly isBootable?: boolean | undefined
  readonly created?: TimeRange | undefined
  readonly updated?: TimeRange | undefined
}

/** All of them hold. */
export interface TimeRange {
  readonly gt?: Date | undefined
  readonly gte?: Date | undefined
  readonly lt?: Date | undefined
  readonly lte?: Date | undefined
}

export const BLOCK_SORT_KEYS = ['created_at', 'updated_at', 'name', 'size', 'status', 'id'] as const

/** What is equal in this stands by its id, in the same direction. */
export interface BlockOrder {
  readonly key: (typeof BLOCK_SORT_KEYS)[number]
  readonly isAscending: boolean
}

export interface BlockPageRequest extends PageRequest {
  /** Absent: newest first. */
  readonly order?: BlockOrder | undefined
  /** So many are left out, behind the cursor if there is one. */
  readonly offset?: number | undefined
  readonly isCounted?: boolean | undefined
}

/** `count`: of all that the filter lets through, where that was asked for. */
export interface BlockPage<Item> extends Page<Item> {
  readonly count?: number
}

export interface BlockSummary {
  readonly count: number
  readonly sizeGib: number
  /** All values of each member of their metadata. */
  readonly metadata: Readonly<Record<string, readonly string[]>>
}

/**
 * Volumes as the block API has them, of the caller's group: those of the fleet, with what clients say about them. One whose making
 * failed stays as `error` until it is deleted. Work answers as soon as its job is durable.
 */
export interface BlockVolumes {
  /** @throws invalid, not_found (source), conflict (source busy), unavailable. */
  create(caller: Caller, request: CreateBlockVolume): Promise<Accepted & { readonly volume: BlockVolume }>
  update(
    caller: Caller,
    id: string,
    change: { readonly name?: string | null; readonly description?: string | null },
    ifMatch?: BlockVolumeCondition,
  ): Promise<BlockVolume>
  /** @param replace what is not named goes */
  setMetadata(
    caller: Caller,
    id: string,
    metadata: Readonly<Record<string, string>>,
    replace: boolean,
    ifMatch?: BlockVolumeCondition,
  ): Promise<BlockVolume>
  deleteMetadata(caller: Caller, id: string, key: string, ifMatch?: BlockVolumeCondition): Promise<BlockVolume>
  setFlags(
    caller: Caller,
    id: string,
    flags: { readonly bootable?: boolean; readonly readonly?: boolean },
  ): Promise<void>
  /** @throws not_found, conflict with `blockers`; one in `error` goes at once. @param cascade its snapshots first */
  delete(caller: Caller, id: string, cascade: boolean, ifMatch?: BlockVolumeCondition): Promise<void>
  /** @throws conflict (not available), invalid (not larger) */
  extend(caller: Caller, id: string, sizeGib: number): Promise<Accepted>
  /**
   * The volume becomes what it was at one of its snapshots.
   * @param rule `latest`: only its newest snapshot, and only while available (the block API's); `any`: also while attached to instances that do not run
   * @throws not_found, conflict, invalid (a snapshot of another volume), unavailable
   */
  revert(caller: Caller, id: string, snapshotId: string, rule: 'latest' | 'any'): Promise<Accepted>
  /** Bookkeeping: `available` to `attaching` and back; `in-use` to `detaching` and back. @throws conflict */
  reserve(caller: Caller, id: string): Promise<void>
  unreserve(caller: Caller, id: string): Promise<void>
  beginDetaching(caller: Caller, id: string): Promise<void>
  rollDetaching(caller: Caller, id: string): Promise<void>
  attach(
    caller: Caller,
    id: string,
    to: {
      readonly instanceId?: string | undefined
      readonly hostName?: string | undefined
      readonly mountpoint?: string | undefined
      readonly mode?: 'rw' | 'ro' | undefined
    },
  ): Promise<void>
  detach(caller: Caller, id: string, attachmentId?: string): Promise<void>
  /** An export of it to that initiator alone. Waits until it stands. @throws invalid, conflict (another initiator has it), unavailable, timeout */
  initializeConnection(
    caller: Caller,
    id: string,
    connector: { readonly initiator: string; readonly host?: string | undefined },
    signal: AbortSignal,
  ): Promise<BlockConnection>
  terminateConnection(
    caller: Caller,
    id: string,
    connector: { readonly initiator?: string | undefined; readonly force?: boolean | undefined },
    signal: AbortSignal,
  ): Promise<void>
  get(caller: Caller, id: string): Promise<BlockVolume>
  /** What the group that is acted for has. */
  usage(caller: Caller): Promise<BlockUsage>
  /** Of all that the caller sees. */
  summary(caller: Caller): Promise<BlockSummary>
  /** A page's cursor is the id of its last one. @throws invalid for a cursor that names none */
  list(caller: Caller, filter: BlockFilter, page: BlockPageRequest): Promise<BlockPage<BlockVolume>>
}

export interface BlockSnapshots {
  /** @param force also while it is in use: as after a power cut. @throws not_found, conflict (in use without `force`), unavailable */
  create(
    caller: Caller,
    request: {
      readonly volumeId: string
      readonly name?: string | null | undefined
      readonly description?: string | null | undefined
      readonly metadata?: Readonly<Record<string, string>> | undefined
      readonly force?: boolean | undefined
    },
  ): Promise<Accepted & { readonly snapshot: BlockSnapshot }>
  update(
    caller: Caller,
    id: string,
    change: { readonly name?: string | null; readonly description?: string | null },
    ifMatch?: BlockSnapshotCondition,
  ): Promise<BlockSnapshot>
  setMetadata(
    caller: Caller,
    id: string,
    metadata: Readonly<Record<string, string>>,
    replace: boolean,
    ifMatch?: BlockSnapshotCondition,
  ): Promise<BlockSnapshot>
  deleteMetadata(caller: Caller, id: string, key: string, ifMatch?: BlockSnapshotCondition): Promise<BlockSnapshot>
  /** @throws not_found, conflict with `blockers`: volumes that were cloned from it, instance snapshots that it is part of */
  delete(caller: Caller, id: string, ifMatch?: BlockSnapshotCondition): Promise<void>
  get(caller: Caller, id: string): Promise<BlockSnapshot>
  list(caller: Caller, filter: BlockFilter, page: BlockPageRequest): Promise<BlockPage<BlockSnapshot>>
}
