import type { Held } from '../../../shared/instance-spec.ts'
import type { ImagePlace } from '../../archive/image/image-bytes.ts'
import type { Graft, LiveTree, OlderFiles } from '../../archive/write-archive.ts'
import type { ChangeList, Watch } from '../../drivers/driver.ts'
import type { ImageContent } from '../../points/series-image.ts'
import type { StepContext } from '../pipeline.ts'
import type { Written } from './keep-clones.ts'
import type { WholeTree } from './tree-source.ts'

export interface TreeContent {
  readonly kind: 'tree'
  /** Open for reading. */
  readonly rootFd: number
  /** What of other trees is read in it. */
  readonly grafts: readonly Graft[] | undefined
  /** What the snapshot's driver wrote of what it was cloned from. */
  readonly stamps: string | undefined
  /** What the snapshot was taken of, where its files are known by it. */
  readonly live: LiveTree | undefined
  /** What the last point of the base was made of, where that is kept. */
  readonly older: OlderFiles | undefined
  /** Whether `PointSource.wrote` is to be told of large files. */
  readonly tellsLarge?: boolean
  /** Of a tree that lives and was listed: what changed since is not to be read in it, but in what `PointSource.instead` gives. */
  readonly untouchedSinceMs?: number | undefined
  /** It holds nothing but what differs from the point that is to be completed. */
  readonly isPartial?: boolean
}

/** How a source may be opened. */
export interface Opening {
  /** Whether the archive will be of what differs from the point below alone, where that is known. */
  readonly takesChanges: boolean
  /** Whether it is read at once, so that a little may be read where it lives. */
  readonly isReadAtOnce: boolean
}

/** What nobody writes to. */
export type DiskContent = ImagePlace & {
  readonly kind: 'disk'
  readonly sizeBytes: number
  /** Chunks that may differ from what the last point of the base was made of, where that is known. */
  changed(chunkBytes: number, below: ImageBelow, signal: AbortSignal): Promise<Uint32Array | undefined>
}

/** The image of the last point of the base. */
export interface ImageBelow {
  readonly sizeBytes: number
  /** Numbers of its chunks that are not all zeros, in order. */
  held(): AsyncIterable<number>
}

/** What a point is made of. dropped → open → read → kept | dropped. */
export interface PointSource {
  /** Whether a snapshot holds only what differs from the point that is to be completed: open that point first. */
  readonly asksForBase: boolean
  /** Whether what was read is of one instant. */
  readonly atomic: boolean
  /** Of an instance that was held. */
  readonly held?: Held | undefined
  open(watch: Watch & Pick<StepContext, 'secret'>, how: Opening): Promise<void>
  /** What is read stands still for as long as it is to. */
  read<Result>(watch: Watch, act: () => Promise<Result>): Promise<Result>
  /** What is read: a tree, or the image of a volume. */
  readonly content: TreeContent | DiskContent
  /** Of what is read where it lives, and did not stand still: takes what does. Until then, and while it is read, nobody else may work on it. */
  readonly instead?: ((watch: Watch) => Promise<TreeContent>) | undefined
  readonly whole: ((watch: Watch) => Promise<WholeTree>) | undefined
  settled(watch: Watch): Promise<number | undefined>
  changes(watch: Watch): Promise<ChangeList | undefined>
  /** What the point has, as far as it is known now; the last that is told counts. */
  wrote?(written: Written): void
  /** What goes into the image of the series; to be asked for when it was read. */
  image(): Promise<ImageContent>
  drop(): Promise<void>
  /** The point stands. */
  keep(): Promise<void>
  close(): void
}
