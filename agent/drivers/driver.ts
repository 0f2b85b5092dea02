import type { Progress } from '../../shared/job-event.ts'
import type { Capabilities, DriverName } from '../../shared/wire/messages.ts'
import type { ListedChange } from '../tree/listing-diff.ts'

/** How a long call is watched: it reports through `progress` (as often as it likes) and ends soon after `signal` aborts. */
export interface Watch {
  readonly signal: AbortSignal
  progress(progress: Progress): void
}

/** A dataset (or a snapshot, which is one too) as it stands on this host. */
export interface DatasetInfo {
  /** Inode number of its root directory. */
  readonly rootInode: number
  /** Absolute path of its root directory on this host. */
  readonly mountpoint: string
}

export interface ImageInfo extends DatasetInfo {
  /** Taken at one instant. */
  readonly atomic: boolean
  /** No data byte was copied. */
  readonly cow: boolean
  /** Of an image that was made just now without copying, whose files have the numbers and times of what it was made of, or stamps that tell them. */
  readonly original?: Original | undefined
}

export interface Original extends Pick<DatasetInfo, 'mountpoint'> {
  /**
   * Since the epoch; undefined where stamps tell numbers and times. A change is in the image with its time and its data if that time is earlier: a write moves the time before it writes, and the image may have been taken
   * in between. Who changed it later has a later time, as all that was dirty has been written since.
   */
  readonly settledBeforeMs?: number | undefined
}

export interface SnapshotRequest {
  readonly source: string
  readonly target: string
  readonly readonly: boolean
  /**
   * Absolute path of a file to write: the numbers and times that the source's files had, by which an archive of the image knows
   * them again. It is there before the image is. Nothing is written where images keep both by themselves (btrfs).
   */
  readonly stamps?: string
  /**
   * Where images are walks over a tree (reflink, copy): nothing else is in the image, so that it serves an increment by this list and
   * nothing more. Names may be there of what is not: empty files and directories. It need not outlast the host: nobody uses one that he
   * did not make.
   */
  readonly only?: readonly ListedChange[]
}

/** A place of a tree that may differ from what it was. */
export interface Change {
  /** Below the tree's root, one character a byte (latin1), as names need not be UTF-8; '' is the root. */
  readonly path: string
  /** It, and everything below it, before or now: what it stands for came, went or moved. */
  readonly subtree: boolean
  /** No directory, at any time in between, and it certainly differs. */
  readonly rewritten?: true
}

/**
 * In no order; a path may come twice. Everything that differs is named or below a named subtree, every name of a file that has
 * several included; what is named need not differ.
 */
export type ChangeList = readonly Change[]

/**
 * One pool on one host under one technology. Datasets are named by their uuid. Orders are redelivered, so every method is
 * idempotent: a second `create` or `snapshot` of the same name finds the first, `destroy` of an absent name succeeds. What
 * `create` and `snapshot` make is whole or absent: a kill at any instruction leaves at most staged litter, which `sweep` removes.
 * Failures are FleetErrors: `not_found` (source absent), `no_space`, `busy`, `internal`; an aborted signal is `cancelled`.
 */
export interface Driver {
  readonly name: DriverName
  readonly capabilities: Capabilities
  /** Absolute path of the directory with its datasets, where the pool's own path is something else (ZFS). */
  readonly directory?: string
  /** An empty, writable dataset. */
  create(dataset: string, watch: Watch): Promise<DatasetInfo>
  /** A copy-on-write image of `source` (on `copy` pools: a copy), read-only or writable. */
  snapshot(request: SnapshotRequest, watch: Watch): Promise<ImageInfo>
  destroy(dataset: string, watch: Watch): Promise<void>
  /**
   * What it takes to come from one image to a later one, from the file system's own metadata: never by reading the trees.
   * Undefined when that cannot be told (the base is gone or was writable, or so much changed that a walk is as good).
   * @throws not_found when the image is absent
   */
  changes?(request: { readonly base: string; readonly image: string }, watch: Watch): Promise<ChangeList | undefined>
  find(dataset: string): Promise<DatasetInfo | undefined>
  usage(): Promise<{ readonly sizeBytes: number; readonly freeBytes: number }>
  /** Removes what an interrupted call left staged. Only called while no call runs. */
  sweep(): Promise<void>
}
