import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { MessageChannel, Worker } from 'node:worker_threads'
import { FleetError } from '../../shared/errors.ts'
import type { Progress } from '../../shared/job-event.ts'
import { asFleetError } from '../native/system-error.ts'
import { ZstdCompressor } from '../native/zstd.ts'
import { Counters } from '../tree/counters.ts'
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
import type { FilledFrame } from './write/frame-filler.ts'
import { FrameSlots, newSlots } from './write/frame-slots.ts'
import type { IndexChunk } from './write/index-text.ts'
import { openUnlinked } from './write/spool.ts'
import type { WriteEnd, WriteMessage, WriteTask } from './write/write-worker.ts'

const DEFAULT_FRAME_BYTES = 4 * 2 ** 20
const DEFAULT_LEVEL = 3
/** One is filled while the others are compressed or stored; each costs 9 MiB. */
const SLOTS = 1 + Math.min(3, availableParallelism())
const INDEX_FRAME_BYTES = 2 ** 18
/** The last line may reach beyond; what is longer still is compressed with memory of its own. */
const INDEX_MAX_BYTES = INDEX_FRAME_BYTES + 2 ** 20
/** Enough for the names of a directory of two million; a lower bound makes the collector run earlier. */
const WORKER_MEMORY = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 128 }
const PROGRESS_INTERVAL_MS = 100
const END_OF_TAR = 2 * BLOCK

export interface ArchiveWatch {
  readonly signal: AbortSignal
  progress(progress: Progress): void
}

export interface WriteRequest {
  /** Begins the message of a failure, for clients. */
  readonly subject: string
  /** The tree's root, open for reading; stays open. */
  readonly rootFd: number
  readonly sink: ArchiveSink
  /** A directory for what is kept beside the data while it is written: about 100 bytes a member. Nothing stays in it. */
  readonly scratch: string
  readonly compression: Compression
  readonly level?: number
  readonly frameBytes?: number
  /** Makes it an increment. */
  readonly base?: ArchiveBase
  /** Of a tree that is a clone: the file that its driver wrote beside it. Pass it for full archives too. */
  readonly stamps?: string
}

export interface ArchiveBase {
  /** Names of the points below, oldest first. */
  readonly points: readonly string[]
  /** Their merged index (`Chain.lines`). */
  readonly lines: AsyncIterable<Uint8Array>
  /**
   * What differs between the tree that the last of these points was made of and this one, if somebody knows: then only that is
   * looked at, and of the index only what is needed. Not used while the last point has problems, as those are tried again.
   */
  readonly changes?: { readonly chain: Chain; readonly list: readonly Change[] }
}

export interface WrittenArchive {
  readonly totals: PointTotals
  readonly files: readonly StoredFile[]
  /** At most a thousand, with their paths; `totals.problems` counts all. Any makes the point PARTIAL. */
  readonly problems: readonly Problem[]
}

/**
 * Writes the tree as one point and commits it. On failure or abort the sink is told to leave nothing behind.
 * @throws FleetError cancelled, no_space and what else asFleetError or the sink tell
 */
export async function writeArchive(request: WriteRequest, watch: ArchiveWatch): Promise<WrittenArchive> {
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
  readonly #slots: FrameSlots
  readonly #compressors = new Map<number, ZstdCompressor>()
  #indexCompressor: ZstdCompressor | undefined
  /** Everything is stored in the order it came. */
  #stored: Promise<void> = Promise.resolve()
  #failed: { readonly error: unknown } | undefined

  constructor(request: WriteRequest, watch: ArchiveWatch, files: ArchiveFiles, failure: AbortController) {
    this.#request = request
    this.#watch = watch
    this.#files = files
    this.#failure = failure
    this.#memory = newSlots(SLOTS, request.frameBytes ?? DEFAULT_FRAME_BYTES)
    this.#slots = new FrameSlots(this.#memory)
  }

  async run(
    signal: AbortSignal,
  ): Promise<{ readonly end: Extract<WriteEnd, { type: 'done' }>; readonly contentBytes: number }> {
    const stop = () => this.#counters.stop()
    signal.addEventListener('abort', stop)
    const timer = setInterval(() => this.#tell(), PROGRESS_INTERVAL_MS)
    try {
      const end = await this.#work(signal)
      await this.#stored
      if (this.#failed !== undefined) throw this.#failed.error
      if (end.type === 'failed') {
        throw new FleetError(end.code, end.message, end.detail === undefined ? {} : { detail: end.detail })
      }
      this.#tell()
      return { end, contentBytes: this.#counters.bytes }
    } finally {
      clearInterval(timer)
      signal.removeEventListener('abort', stop)
      // Whatever failed, nothing compresses any more once all that was taken in has had its turn.
      await this.#stored
      for (const compressor of this.#compressors.values()) compressor[Symbol.dispose]()
      this.#indexCompressor?.[Symbol.dispose]()
    }
  }

  async #work(signal: AbortSignal): Promise<WriteEnd> {
    const { base, stamps } = this.#request
    const changes = base === undefined ? undefined : usableChanges(base)
    if (base === undefined || changes === undefined)
      return this.#walk({ lines: base?.lines, wanted: undefined, stamps }, signal)
    const wanted = wantedOf(changes.list)
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
    const { subject, rootFd, scratch } = this.#request
    const channel = lines === undefined ? undefined : new MessageChannel()
    const counts = newCounts()
    const stampsFd = stamps === undefined ? undefined : openStamps(stamps)
    const linkSpillFd = openUnlinked(scratch)
    const task: WriteTask = {
      subject,
      rootFd,
      slots: this.#memory,
      counters: this.#counters.memory,
      linkSpillFd,
      indexChunkBytes: INDEX_FRAME_BYTES,
      previous: channel === undefined ? undefined : { port: channel.port2, counts },
      wanted,
      stampsFd,
    }
    const worker = new Worker(new URL('./write/write-worker.ts', import.meta.url), {
      workerData: task,
      resourceLimits: WORKER_MEMORY,
      transferList: channel === undefined ? [] : [channel.port2],
    })
    let end: WriteEnd | undefined
    worker.on('message', (message: WriteMessage) => {
      if (message.type === 'done' || message.type === 'failed') end = message
      else this.#take(message)
    })
    const sending =
      lines === undefined || channel === undefined
        ? Promise.resolve()
        : this.#sendLines(lines, new QueueSender<Uint8Array | undefined>({ port: channel.port1, counts }), signal)
    try {
      // `once` rejects on the worker's 'error' event: a bug there ends the job here.
      await once(worker, 'exit')
      this.#failure.signal.aborted || signal.aborted ? await sending.catch(() => undefined) : await sending
    } finally {
      channel?.port1.close()
      closeSync(linkSpillFd)
      if (stampsFd !== undefined) closeSync(stampsFd)
    }
    if (this.#failed !== undefined) throw this.#failed.error
    if (end === undefined) throw new FleetError('cancelled', 'cancelled')
    return end
  }

  async #sendLines(
    lines: AsyncIterable<Uint8Array>,
    queue: QueueSender<Uint8Array | undefined>,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      for await (const piece of lines) await queue.send(piece, [], signal)
      await queue.send(undefined, [], signal)
    } catch (error) {
      this.#fail(error)
    }
  }

  #take(message: FilledFrame | IndexChunk | { readonly type: 'gone'; readonly bytes: Uint8Array }): void {
    if (message.type === 'frame') this.#inOrder(this.#storeFrame(message))
    else if (message.type === 'index') this.#inOrder(this.#storeIndex(message))
    else
      this.#inOrder(async () => {
        if (this.#failed === undefined) await this.#files.addGone(message.bytes)
      })
  }

  /** Compression begins at once, on another thread; what it yields waits for its turn. */
  #storeFrame({ slot, bytes }: FilledFrame): () => Promise<void> {
    const raw = this.#slots.bytes(slot).subarray(0, bytes)
    const { compression } = this.#request
    const stored = compression === 'zstd' ? this.#compressor(slot).compress(raw) : Promise.resolve(raw)
    stored.catch(() => undefined) // told by whoever awaits it below
    return async () => {
      const frame = await stored
      if (this.#failed === undefined) await this.#files.addFrame(frame, bytes)
      this.#slots.free(slot)
    }
  }

  /** One a slot: what it yields lies in its memory until the slot is free again. */
  #compressor(slot: number): ZstdCompressor {
    const { level = DEFAULT_LEVEL } = this.#request
    const compressor = this.#compressors.get(slot) ?? new ZstdCompressor({ level, maxBytes: this.#memory.frameBytes })
    this.#compressors.set(slot, compressor)
    return compressor
  }

  /** Compressed in its turn, by one compressor: an index is small beside its data. */
  #storeIndex({ text, firstPath, lines }: IndexChunk): () => Promise<void> {
    return async () => {
      if (this.#failed !== undefined) return
      this.#indexCompressor ??= new ZstdCompressor({ level: DEFAULT_LEVEL, maxBytes: INDEX_MAX_BYTES })
      const raw = Buffer.from(text.buffer, text.byteOffset, text.length)
      const frame = raw.length > INDEX_MAX_BYTES ? await compressFrame(raw) : await this.#indexCompressor.compress(raw)
      await this.#files.addIndex(frame, { rawBytes: text.length, firstPath, lines })
    }
  }

  #inOrder(store: () => Promise<void>): void {
    this.#stored = this.#stored.then(async () => {
      try {
        await store()
      } catch (error) {
        this.#fail(error)
      }
    })
  }

  #fail(error: unknown): void {
    this.#failed ??= { error }
    this.#failure.abort()
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

function openStamps(path: string): number {
  try {
    return openSync(path, 'r')
  } catch (error) {
    throw asFleetError(error, 'the stamps of the image')
  }
}
