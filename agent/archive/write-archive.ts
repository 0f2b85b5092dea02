import { FleetError } from '../../shared/errors.ts'
import type { Progress } from '../../shared/job-event.ts'
import type { BytePath } from './byte-path.ts'
import type { Chain } from './chain.ts'
import type { Compression } from './compression.ts'
import type { PointTotals } from './frame-table.ts'
import type { ImagePlace } from './image/image-bytes.ts'
import type { ImageShape } from './image/image-shape.ts'
import { requireShape } from './image/shape-file.ts'
import type { LargeFiles } from './large-file.ts'
import type { Problem } from './member.ts'
import type { ArchiveSink, StoredFile } from './sink.ts'
import type { Change } from './wanted.ts'
import { ArchiveFiles } from './write/archive-files.ts'
import { ArchiveWriting } from './write/archive-writing.ts'

export interface ArchiveWatch {
  readonly signal: AbortSignal
  progress(progress: Progress): void
}

interface AnyRequest {
  /** Begins the message of a failure, for clients. */
  readonly subject: string
  readonly sink: ArchiveSink
  /** A directory for what is kept beside the data while it is written: about 100 bytes a member. Nothing stays in it. */
  readonly scratch: string
  readonly compression: Compression
  readonly level?: number
  readonly frameBytes?: number
}

export interface WriteRequest extends AnyRequest {
  /** The tree's root, open for reading; stays open. */
  readonly rootFd: number
  readonly image?: undefined
  /** Makes it an increment. */
  readonly base?: ArchiveBase
  /** Of a tree that is a clone: the file that its driver wrote beside it. Pass it for full archives too. */
  readonly stamps?: string
  /** Of a tree that others write to while it is read: what changed then or later is read again by the next increment. */
  readonly settledBeforeMs?: number
  /** Of such a tree: a file that changed then or later is told as a problem, as it may change while it is read and look the same. */
  readonly untouchedSinceMs?: number | undefined
  /** Called when nothing of the tree is read any more. @param isWhole nothing was wrong with what was read */
  readonly onRead?: ((isWhole: boolean) => void) | undefined
  /** Of a snapshot of btrfs, or of clones with stamps: what it was taken of. Files that are the same there are read there, where they may be in memory. */
  readonly live?: LiveTree | undefined
  /** Where there are no grafts: whether `WrittenArchive.large` is wanted. */
  readonly tellsLarge?: boolean
  /** Directories of other trees, which are read in the place of empty ones in this. In the same order for every archive of a chain. */
  readonly grafts?: readonly Graft[]
}

export interface WriteImageRequest extends AnyRequest {
  readonly image: ImageSource
  /** Makes it an increment: what differs from the chain is written, and told gone what is zeros now. */
  readonly base?: ImageBase
}

/** What a volume's point is made of: what nobody writes to meanwhile; a file or device is open for reading. */
export type ImageSource = ImagePlace & {
  readonly sizeBytes: number
  /** `chunkBytesFor` it for a full archive; that of the chain's `readShape` for an increment. */
  readonly chunkBytes: number
  /** Of an increment: chunks that may differ from what the chain's last point was made of, in order (`changedChunks`); all, where nobody knows. */
  readonly only?: Uint32Array | undefined
}

/** What a snapshot was taken of, where files keep their numbers and times in snapshots, or stamps tell them. */
export interface LiveTree {
  /** Of the directory whose image is read, for reading. */
  readonly fd: number
  /** As in `Original`: what changed then or later may have changed again since, and look the same. */
  readonly settledBeforeMs?: number | undefined
}

export interface ImageBase {
  /** Names of the points below, oldest first. */
  readonly points: readonly string[]
  readonly chain: Chain
}

export interface Graft {
  /** Of an empty directory. */
  readonly path: BytePath
  /** Open for reading; stays open. */
  readonly fd: number
  /** As of the root; `rootFd` of the whole image, of which this may be but a part. */
  readonly stamps?: { readonly path: string; readonly rootFd: number }
  readonly settledBeforeMs?: number
  readonly live?: LiveTree | undefined
}

export interface ArchiveBase {
  /** Names of the points below, oldest first. */
  readonly points: readonly string[]
  /** Their merged index (`Chain.lines`), which may be iterated a second time. */
  readonly lines: AsyncIterable<Uint8Array>
  /**
   * What differs between the tree that the last of these points was made of and this one, if somebody knows: then only that is
   * looked at, and of the index only what is needed. Not used while the last point has problems, as those are tried again.
   * `isAll`: the tree holds nothing else, so whoever gives it knows of no problems.
   */
  readonly changes?: { readonly chain: Chain; readonly list: readonly Change[]; readonly isAll?: boolean }
  /** Of large files that are in there too, only what does not lie in the same blocks is written. */
  readonly older?: OlderFiles | undefined
}

/**
 * What the last point of a chain was made of, on the same file system; `fd` is open for reading and stays open. `path`: the tree itself, of files whose own
 * numbers and times the index tells. `number`: clones of files by the numbers that the index tells, with what it says of them noted on each
 * (large-file.ts); one that changed after `untilMs`, of the epoch, counts for nothing.
 */
export type OlderFiles =
  | { readonly by: 'path'; readonly fd: number }
  | { readonly by: 'number'; readonly fd: number; readonly untilMs: number }

export interface WrittenArchive {
  readonly totals: PointTotals
  readonly files: readonly StoredFile[]
  /**
   * At most a thousand, with their paths; `totals.problems` counts all but sockets, which no archive can hold and nobody misses.
   * Any that is counted makes the point PARTIAL.
   */
  readonly problems: readonly Problem[]
  /** Where that was asked for. */
  readonly large: LargeFiles | undefined
}

/**
 * Writes the tree as one point and commits it. On failure or abort the sink is told to leave nothing behind.
 * @throws FleetError cancelled, no_space and what else asFleetError or the sink tell
 */
export async function writeArchive(
  request: WriteRequest | WriteImageRequest,
  watch: ArchiveWatch,
): Promise<WrittenArchive> {
  if (request.image !== undefined) requireShape(request.image)
  const failure = new AbortController()
  const signal = AbortSignal.any([watch.signal, failure.signal])
  if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
  const { sink, scratch, compression } = request
  const files = new ArchiveFiles({ sink, scratch, compression, signal })
  try {
    const writing = new ArchiveWriting(request, watch, files, failure)
    const { end, contentBytes } = await writing.run(signal)
    const bases = request.base?.points ?? []
    const image = request.image && shapeOf(request.image)
    const stored = await files.finish({ contentBytes, problems: end.problemCount, bases, image })
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
    await sink.commit()
    return { ...stored, problems: end.problems, large: end.large }
  } catch (error) {
    await sink.abort()
    throw watch.signal.aborted ? new FleetError('cancelled', 'cancelled', { cause: error }) : error
  } finally {
    files.close()
  }
}

function shapeOf({ sizeBytes, chunkBytes }: ImageSource): ImageShape {
  return { sizeBytes, chunkBytes }
}
