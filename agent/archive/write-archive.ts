import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { MessageChannel, Worker } from 'node:worker_threads'
import { FleetError } from '../../shared/errors.ts'
import type { Progress } from '../../shared/job-event.ts'
import { asFleetError } from '../native/system-error.ts'
import { Counters } from '../tree/counters.ts'
import type { BytePath } from './byte-path.ts'
import type { Chain } from './chain.ts'
import { changedLines } from './changed-lines.ts'
import { type Compression, compressFrame } from './compression.ts'
import type { PointTotals } from './frame-table.ts'
import type { Problem } from './member.ts'
import type { ArchiveSink, StoredFile } from './sink.ts'
import { BLOCK } from './tar-header.ts'
import { newCounts, QueueSender } from './thread/chunk-queue.ts'
import { type Change, type Wanted, wantedOf } from './wanted.ts'
import { ArchiveFiles } from './write/archive-files.ts'
import { newSlots } from './write/frame-slots.ts'
import { DEFAULT_LEVEL, INDEX_FRAME_BYTES, PieceStore } from './write/piece-store.ts'
import { closeStamps, type TreeMarks } from './write/realms.ts'
import { openUnlinked } from './write/spool.ts'
import type { WriteEnd, WriteMessage, WriteTask } from './write/write-worker.ts'

const DEFAULT_FRAME_BYTES = 4 * 2 ** 20
/** One is filled while the others are compressed or stored; each costs 9 MiB. */
const SLOTS = 1 + Math.min(3, availableParallelism())
/** Enough for the names of a directory of two million; a lower bound makes the collector run earlier. */
const WORKER_MEMORY = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 128 }
const PROGRESS_INTERVAL_MS = 100
const END_OF_TAR = 2 * BLOCK

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
  /** Directories of other trees, which are read in the place of empty ones in this. In the same order for every archive of a chain. */
  readonly grafts?: readonly Graft[]
}

export interface WriteImageRequest extends AnyRequest {
  readonly image: ImageSource
  /** Makes it an increment: what differs from the chain is written, and told gone what is zeros now. */
  readonly base?: ImageBase
}

/** What a volume's point is made of. */
export interface ImageSource {
  /** Of a file or block device that nobody writes to, open for reading; stays open. */
  readonly fd: number
  readonly sizeBytes: number
  /** `chunkBytesFor` it for a full archive; that of the chain's `readShape` for an increment. */
  readonly chunkBytes: number
  /** Of an increment: chunks that may differ from what the chain's last point was made of, in order (`changedChunks`); all, where nobody knows. */
  readonly only?: Uint32Array | undefined
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
}

export interface WrittenArchive {
  readonly totals: PointTotals
  readonly files: readonly StoredFile[]
  /**
   * At most a thousand, with their paths; `totals.problems` counts all but sockets, which no archive can hold and nobody misses.
   * Any that is counted makes the point PARTIAL.
   */
  readonly problems: readonly Problem[]
}

/**
 * Writes the tree as one point and commits it. On failure or abort the sink is told to leave nothing behind.
 * @throws FleetError cancelled, no_space and what else asFleetError or the sink tell
 */
export async function writeArchive(
  request: WriteRequest | WriteImageRequest,
  watch: ArchiveWatch,
): Promise<WrittenArchive> {
  if (request.image !== undefined) throw new FleetError('internal', 'not there yet')
  const failure = new AbortController()
  const signal = AbortSignal.any([watch.signal, failure.signal])
  if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
  const { sink, scratch, compression } = request
  const files = new ArchiveFiles({ sink, scratch, compression, signal })
  try {
    const writing = new ArchiveWriting(request, watch, files, failure)
    const { end, contentBytes } = await writing.run(signal)
    const bases = request.base?.points ?? []
    const stored = await files.finish({ contentBytes, problems: end.problemCount, bases })
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
    await sink.commit()
    return { ...stored, problems: end.problems }
  } catch (error) {
    await sink.abort()
    throw watch.signal.aborted ? new FleetError('cancelled', 'cancelled', { cause: error }) : error
  } finally {
    files.close()
  }
}

class ArchiveWriting {
  readonly #request: WriteRequest
  readonly #watch: ArchiveWatch
  readonly #files: ArchiveFiles
  readonly #failure: AbortController
  readonly #counters = new Counters()
  readonly #memory
  readonly #store: PieceStore

  constructor(request: WriteRequest, watch: ArchiveWatch, files: ArchiveFiles, failure: AbortController) {
    this.#request = request
    this.#watch = watch
    this.#files = files
    this.#failure = failure
    this.#memory = newSlots(SLOTS, request.frameBytes ?? DEFAULT_FRAME_BYTES)
    const { compression, level = DEFAULT_LEVEL } = request
    const onFailure = () => failure.abort()
    this.#store = new PieceStore({ files, compression, level, memory: this.#memory, onFailure })
  }

  async run(
    signal: AbortSignal,
  ): Promise<{ readonly end: Extract<WriteEnd, { type: 'done' }>; readonly contentBytes: number }> {
    const stop = () => this.#counters.stop()
    signal.addEventListener('abort', stop)
    const timer = setInterval(() => this.#tell(), PROGRESS_INTERVAL_MS)
    try {
      const end = await this.#work(signal)
      await this.#store.settled()
      this.#store.throwIfFailed()
      if (end.type === 'failed') {
        throw new FleetError(end.code, end.message, end.detail === undefined ? {} : { detail: end.detail })
      }
      this.#tell()
      return { end, contentBytes: this.#counters.bytes }
    } finally {
      clearInterval(timer)
      signal.removeEventListener('abort', stop)
      // Whatever failed, nothing compresses any more once all that was taken in has had its turn.
      await this.#store.settled()
      this.#store[Symbol.dispose]()
    }
  }

  async #work(signal: AbortSignal): Promise<WriteEnd> {
    const { base, stamps } = this.#request
    const changes = base === undefined ? undefined : usableChanges(base)
    if (base === undefined || changes === undefined)
      return this.#walk({ lines: base?.lines, wanted: undefined, stamps }, signal)
    const wanted = wantedOf(changes.list, changes.isAll)
    // A thread would have nothing to look at.
    if (wanted.paths.length === 0) return this.#endTar()
    return this.#walk({ lines: changedLines(changes.chain, wanted, signal), wanted, stamps }, signal)
  }

  async #endTar(): Promise<WriteEnd> {
    const end = Buffer.alloc(END_OF_TAR)
    const stored = this.#request.compression === 'zstd' ? await compressFrame(end) : end
    await this.#files.addFrame(stored, end.length)
    return { type: 'done', problems: [], problemCount: 0 }
  }

  async #walk({ lines, wanted, stamps }: Walk, signal: AbortSignal): Promise<WriteEnd> {
    const { subject, rootFd, scratch, settledBeforeMs, grafts = [] } = this.#request
    const channel = lines === undefined ? undefined : new MessageChannel()
    const counts = newCounts()
    const linkSpillFd = openUnlinked(scratch)
    const marks = { stamps: openStamps(stamps === undefined ? undefined : { path: stamps, rootFd }), settledBeforeMs }
    const grafted = grafts.map((graft) => ({
      ...{ path: graft.path, fd: graft.fd, settledBeforeMs: graft.settledBeforeMs },
      stamps: openStamps(graft.stamps),
    }))
    const task: WriteTask = {
      subject,
      rootFd,
      slots: this.#memory,
      counters: this.#counters.memory,
      linkSpillFd,
      indexChunkBytes: INDEX_FRAME_BYTES,
      previous: channel === undefined ? undefined : { port: channel.port2, counts },
      wanted,
      marks,
      grafts: grafted,
    }
    const worker = new Worker(new URL('./write/write-worker.ts', import.meta.url), {
      workerData: task,
      resourceLimits: WORKER_MEMORY,
      transferList: channel === undefined ? [] : [channel.port2],
    })
    const queue =
      channel === undefined ? undefined : new QueueSender<Uint8Array | undefined>({ port: channel.port1, counts })
    let sending = this.#sendLines(lines, queue, signal)
    let end: WriteEnd | undefined
    worker.on('message', (message: WriteMessage) => {
      if (message.type === 'done' || message.type === 'failed') end = message
      else if (message.type === 'again')
        sending = sending.then(() => this.#sendLines(this.#request.base?.lines, queue, signal))
      else this.#store.take(message)
    })
    try {
      // `once` rejects on the worker's 'error' event: a bug there ends the job here.
      await once(worker, 'exit')
      this.#failure.signal.aborted || signal.aborted ? await sending.catch(() => undefined) : await sending
    } finally {
      channel?.port1.close()
      closeSync(linkSpillFd)
      closeStamps([marks, ...grafted])
    }
    this.#store.throwIfFailed()
    if (end === undefined) throw new FleetError('cancelled', 'cancelled')
    return end
  }

  async #sendLines(
    lines: AsyncIterable<Uint8Array> | undefined,
    queue: QueueSender<Uint8Array | undefined> | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    if (lines === undefined || queue === undefined) return
    try {
      for await (const piece of lines) await queue.send(piece, [], signal)
      await queue.send(undefined, [], signal)
    } catch (error) {
      this.#store.fail(error)
    }
  }

  #tell(): void {
    this.#watch.progress({ phase: 'archive', files: this.#counters.files, bytes: this.#counters.bytes })
  }
}

interface Walk {
  readonly lines: AsyncIterable<Uint8Array> | undefined
  readonly wanted: Wanted | undefined
  readonly stamps: string | undefined
}

function usableChanges({ changes }: ArchiveBase): ArchiveBase['changes'] {
  return changes?.chain.points.at(-1)?.table.totals.problems === 0 ? changes : undefined
}

function openStamps(stamps: Graft['stamps']): TreeMarks['stamps'] {
  if (stamps === undefined) return undefined
  try {
    return { fd: openSync(stamps.path, 'r'), rootFd: stamps.rootFd }
  } catch (error) {
    throw asFleetError(error, 'the stamps of the image')
  }
}
