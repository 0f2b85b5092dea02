import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { MessageChannel, Worker } from 'node:worker_threads'
import { FleetError } from '../../shared/errors.ts'
import type { Progress } from '../../shared/job-event.ts'
import { Counters } from '../tree/counters.ts'
import { type Compression, compressFrame } from './compression.ts'
import type { PointTotals } from './frame-table.ts'
import type { Problem } from './member.ts'
import type { ArchiveSink } from './sink.ts'
import { newCounts, QueueSender } from './thread/chunk-queue.ts'
import { ArchiveFiles, type StoredFile } from './write/archive-files.ts'
import type { FilledFrame } from './write/frame-filler.ts'
import { FrameSlots, newSlots } from './write/frame-slots.ts'
import type { IndexChunk } from './write/index-text.ts'
import { openUnlinked } from './write/spool.ts'
import type { WriteEnd, WriteMessage, WriteTask } from './write/write-worker.ts'

const DEFAULT_FRAME_BYTES = 4 * 2 ** 20
/** One is filled, one waits for the sink, the rest are compressed. */
const SLOTS = 5
const INDEX_FRAME_BYTES = 2 ** 18
const PROGRESS_INTERVAL_MS = 100

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
  /** Makes it an increment: names of the points below, oldest first, and their merged index (`Chain.lines`). */
  readonly base?: { readonly points: readonly string[]; readonly lines: AsyncIterable<Uint8Array> }
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
    }
  }

  async #work(signal: AbortSignal): Promise<WriteEnd> {
    const { base, subject, rootFd, scratch } = this.#request
    const channel = base === undefined ? undefined : new MessageChannel()
    const counts = newCounts()
    const linkSpillFd = openUnlinked(scratch)
    const task: WriteTask = {
      subject,
      rootFd,
      slots: this.#memory,
      counters: this.#counters.memory,
      linkSpillFd,
      indexChunkBytes: INDEX_FRAME_BYTES,
      previous: channel === undefined ? undefined : { port: channel.port2, counts },
    }
    const worker = new Worker(new URL('./write/write-worker.ts', import.meta.url), {
      workerData: task,
      transferList: channel === undefined ? [] : [channel.port2],
    })
    let end: WriteEnd | undefined
    worker.on('message', (message: WriteMessage) => {
      if (message.type === 'done' || message.type === 'failed') end = message
      else this.#take(message)
    })
    const sending =
      base === undefined || channel === undefined
        ? Promise.resolve()
        : this.#sendLines(base.lines, new QueueSender<Uint8Array | undefined>({ port: channel.port1, counts }), signal)
    try {
      // `once` rejects on the worker's 'error' event: a bug there ends the job here.
      await once(worker, 'exit')
      this.#failure.signal.aborted || signal.aborted ? await sending.catch(() => undefined) : await sending
    } finally {
      channel?.port1.close()
      closeSync(linkSpillFd)
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
    else this.#inOrder(async () => this.#files.addGone(message.bytes))
  }

  /** Compression begins at once, on another thread; what it yields waits for its turn. */
  #storeFrame({ slot, bytes }: FilledFrame): () => Promise<void> {
    const raw = this.#slots.bytes(slot).subarray(0, bytes)
    const { compression, level } = this.#request
    const stored = compression === 'zstd' ? compressFrame(raw, level) : Promise.resolve(raw)
    stored.catch(() => undefined) // told by whoever awaits it below
    return async () => {
      await this.#files.addFrame(await stored, bytes)
      this.#slots.free(slot)
    }
  }

  #storeIndex({ text, firstPath, lines }: IndexChunk): () => Promise<void> {
    const stored = compressFrame(text)
    stored.catch(() => undefined)
    return async () => this.#files.addIndex(await stored, { rawBytes: text.length, firstPath, lines })
  }

  #inOrder(store: () => Promise<void>): void {
    this.#stored = this.#stored.then(async () => {
      if (this.#failed !== undefined) return
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
