import type { AttachmentFilter } from './block-attachments.ts'
import type {
  BlockAttachment,
  BlockFilter,
  BlockPage,
  BlockPageRequest,
  BlockSnapshot,
  BlockSummary,
  BlockUsage,
  BlockVolume,
} from './block-volumes.ts'
import type { Caller } from './caller.ts'
import type { Page, PageRequest } from './page.ts'

/** A volume with where its clients are with attaching it, which its status tells only while nothing else goes on. */
export interface BlockVolumeRow extends BlockVolume {
  readonly phase: 'attaching' | 'detaching' | null
  /** The one that it was cloned from. */
  readonly origin: string | null
  /** Nobody could make it: there is nothing on any host. */
  readonly isUnmade: boolean
}

export interface BlockSnapshotRow extends BlockSnapshot {
  /** Of the fleet: behind the `@`. */
  readonly ownName: string
  /** Somebody made it through the block API. */
  readonly isDescribed: boolean
  readonly isUnmade: boolean
}

/** What is said about a volume that was ordered. */
type NewBlockVolume = Pick<
  BlockVolume,
  | 'id'
  | 'groupId'
  | 'path'
  | 'host'
  | 'pool'
  | 'name'
  | 'description'
  | 'metadata'
  | 'snapshotId'
  | 'sourceVolumeId'
  | 'backupId'
> & { readonly sizeBytes: number }

type NewBlockSnapshot = Pick<
  BlockSnapshot,
  'id' | 'groupId' | 'volumeId' | 'path' | 'name' | 'description' | 'metadata'
> & { readonly sizeBytes: number }

interface Words {
  readonly name?: string | null | undefined
  readonly description?: string | null | undefined
  readonly metadata?: Readonly<Record<string, string>> | undefined
  /** The job that deletes it. */
  readonly deleteJobId?: string | undefined
}

/** Nobody is let in yet by way of it. */
type NewAttachment = Omit<BlockAttachment, 'volumeId' | 'initiator' | 'connection' | 'attachedAt' | 'createdAt'>

/** What is absent stays. */
export interface BlockVolumeChange extends Words {
  readonly isBootable?: boolean | undefined
  readonly isReadonly?: boolean | undefined
  readonly phase?: 'attaching' | 'detaching' | null | undefined
  /** Null: no longer. It ends by itself soon, so that one whose process died stands in nobody's way. */
  readonly claim?: 'deleting' | 'reverting' | null | undefined
  readonly attach?: NewAttachment | undefined
  /** One of its attachments as it is from now on. */
  readonly settle?: BlockAttachment | undefined
  /** Ids of attachments. */
  readonly detach?: readonly string[] | undefined
}
export type BlockSnapshotChange = Words

/** What the audit is told of a change; absent: nothing. */
interface Told {
  readonly operation: string
}

/** What Postgres must do for the block API. `groupId` null: of any group. */
interface Rows<Row, New, Change> {
  find(groupId: string | null, id: string): Promise<Row | undefined>
  /** @throws invalid for a cursor that is no id of one */
  list(groupId: string | null, filter: BlockFilter, page: BlockPageRequest): Promise<BlockPage<Row>>
  /** Once: the same again changes nothing. */
  describe(described: New): Promise<void>
  /**
   * Decides on what stands, while nobody else decides on volumes.
   * @param decide undefined: nothing is to change. @throws what `decide` throws; not_found where it is gone by now
   */
  change(caller: Caller, id: string, decide: (row: Row) => Change | undefined, told?: Told): Promise<Row>
  /** Of one that could not be made: it is told of no longer. */
  forget(caller: Caller, row: Row): Promise<void>
}

/** `groupId` null: of any group. */
export interface BlockAttachmentReader {
  find(groupId: string | null, id: string): Promise<AttachmentRow | undefined>
  list(groupId: string | null, filter: AttachmentFilter, page: PageRequest): Promise<Page<AttachmentRow>>
}
export interface AttachmentRow {
  readonly groupId: string
  readonly attachment: BlockAttachment
}

export interface BlockVolumeStore extends Rows<BlockVolumeRow, NewBlockVolume, BlockVolumeChange> {
  usage(groupId: string): Promise<BlockUsage>
  summary(groupId: string | null): Promise<BlockSummary>
}
export type BlockSnapshotStore = Rows<BlockSnapshotRow, NewBlockSnapshot, BlockSnapshotChange>
