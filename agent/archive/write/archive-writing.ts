import { closeSync, openSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { MessageChannel } from 'node:worker_threads'
import { FleetError } from '../../../shared/errors.ts'
import { asFleetError } from '../../native/system-error.ts'
import { newCounts, QueueSender } from '../../threads/chunk-queue.ts'
import { Counters } from '../../tree/counters.ts'
import { changedLines, checkRewritten } from '../changed-lines.ts'
import { compressFrame } from '../compression.ts'
import { placeOf } from '../image/image-bytes.ts'
import { imageLines } from '../image/image-lines.ts'
import type { LargeFiles } from '../large-file.ts'
import { BLOCK } from '../tar-header.ts'
import { type Wanted, wantedOf } from '../wanted.ts'
import type { ArchiveBase, ArchiveWatch, Graft, WriteImageRequest, WriteRequest } from '../write-archive.ts'
import type { ArchiveFiles } from './archive-files.ts'
import { type FrameTools, giveBackTools, takeTools } from './frame-tools.ts'
import { DEFAULT_LEVEL, INDEX_FRAME_BYTES, PieceStore } from './piece-store.ts'
import { closeStamps, type TreeMarks } from './realms.ts'
import { openUnlinked } from './spool.ts'
import { runWriteTask } from './write-thread.ts'
import type { WriteEnd, WriteTask } from './write-worker.ts'

const DEFAULT_FRAME_BYTES = 4 * 2 ** 20
/** One is filled while the others are compressed or stored; each costs 9 MiB. */
const SLOTS = 1 + Math.min(3, availableParallelism())
const PROGRESS_INTERVAL_MS = 100
const END_OF_TAR = 2 * BLOCK
const NOTHING_LARGE: LargeFiles = { files: [], isAll: true }

/** One archive while it is written: a thread reads and fills frames, this one compresses and stores them. */
export class ArchiveWriting {
  readonly #request: WriteRequest | WriteImageRequest
  readonly #watch: ArchiveWatch
  readonly #files: ArchiveFiles
  readonly #failure: AbortController
  readonly #counters = new Counters()
  readonly #tools: FrameTools
  #isDone = false
  readonly #store: PieceStore

  constructor(
    request: WriteRequest | WriteImageRequest,
    watch: ArchiveWatch,
    files: ArchiveFiles,
    failure: AbortController,
  ) {
    this.#request = request
    this.#watch = watch
    this.#files = files
    this.#failure = failure
    const { compression, level = DEFAULT_LEVEL, frameBytes = DEFAULT_FRAME_BYTES } = request
    this.#tools = takeTools({ slots: SLOTS, frameBytes, level })
    const onFailure = () => failure.abort()
    this.#store = new PieceStore({ files, compression, tools: this.#tools, onFailure })
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
      this.#isDone = true
      return { end, contentBytes: this.#counters.bytes }
    } finally {
      clearInterval(timer)
      signal.removeEventListener('abort', stop)
      // Whatever failed, nothing compresses any more once all that was taken in has had its turn.
      await this.#store.settled()
      if (this.#isDone) giveBackTools(this.#tools)
      else this.#tools[Symbol.dispose]()
    }
  }

  async #work(signal: AbortSignal): Promise<WriteEnd> {
    const request = this.#request
    if (request.image !== undefined) return this.#readImage(request, signal)
    const { base, stamps } = request
    const changes = base === undefined ? undefined : usableChanges(base)
    if (base === undefined || changes === undefined)
      return this.#walk(request, { lines: base?.lines, wanted: undefined, stamps, checking: undefined }, signal)
    const wanted = wantedOf(changes.list, changes.isAll)
    // A thread would have nothing to look at.
    if (wanted.paths.length === 0) return this.#endTar(request.tellsLarge === true)
    const checking = checkRewritten(changes.chain, wanted, signal).catch((error: unknown) => this.#store.fail(error))
    return this.#walk(request, { lines: changedLines(changes.chain, wanted, signal), wanted, stamps, checking }, signal)
  }

  async #readImage({ image, base }: WriteImageRequest, signal: AbortSignal): Promise<WriteEnd> {
    const { sizeBytes, chunkBytes } = image
    const place = placeOf(image)
    const { lines, only } = await imageLines(image, base?.chain, signal)
    const source = { kind: 'image', place, shape: { sizeBytes, chunkBytes }, only } as const
    return this.#run({ lines, again: undefined, source }, signal)
  }

  async #endTar(tellsLarge: boolean): Promise<WriteEnd> {
    const end = Buffer.alloc(END_OF_TAR)
    const stored = this.#request.compression === 'zstd' ? await compressFrame(end) : end
    await this.#files.addFrame(stored, end.length)
    return { type: 'done', problems: [], problemCount: 0, large: tellsLarge ? NOTHING_LARGE : undefined }
  }

  async #walk(
    request: WriteRequest,
    { lines, wanted, stamps, checking }: Walk,
    signal: AbortSignal,
  ): Promise<WriteEnd> {
    const { rootFd, scratch, settledBeforeMs, untouchedSinceMs, live, grafts = [], base } = request
    const linkSpillFd = openUnlinked(scratch)
    const own = openStamps(stamps === undefined ? undefined : { path: stamps, rootFd })
    const marks = { stamps: own, settledBeforeMs, live }
    const grafted = grafts.map((graft) => ({
      ...{ path: graft.path, fd: graft.fd, settledBeforeMs: graft.settledBeforeMs, live: graft.live },
      stamps: openStamps(graft.stamps),
    }))
    try {
      const tellsLarge = request.tellsLarge === true && grafts.length === 0
      const told = { wanted, older: base?.older, untouchedSinceMs, tellsLarge }
      const source = { kind: 'tree', rootFd, linkSpillFd, ...told, marks, grafts: grafted } as const
      const end = await this.#run({ lines, again: base?.lines, source }, signal)
      await checking
      this.#store.throwIfFailed()
      request.onRead?.(end.type === 'done' && end.problemCount === 0)
      return end
    } finally {
      await checking
      closeSync(linkSpillFd)
      closeStamps([marks, ...grafted])
    }
  }

  async #run({ lines, again, source }: Reading, signal: AbortSignal): Promise<WriteEnd> {
    const channel = lines === undefined ? undefined : new MessageChannel()
    const counts = newCounts()
    const task: WriteTask = {
      subject: this.#request.subject,
      slots: this.#tools.memory,
      counters: this.#counters.memory,
      indexChunkBytes: INDEX_FRAME_BYTES,
      previous: channel === undefined ? undefined : { port: channel.port2, counts },
      source,
    }
    const queue =
      channel === undefined ? undefined : new QueueSender<Uint8Array | undefined>({ port: channel.port1, counts })
    let sending = this.#sendLines(lines, queue, signal)
    let end: WriteEnd | undefined
    try {
      end = await runWriteTask(task, channel === undefined ? [] : [channel.port2], (message) => {
        if (message.type === 'again') sending = sending.then(() => this.#sendLines(again, queue, signal))
        else this.#store.take(message)
      })
      this.#failure.signal.aborted || signal.aborted ? await sending.catch(() => undefined) : await sending
    } finally {
      channel?.port1.close()
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

interface Reading {
  readonly lines: AsyncIterable<Uint8Array> | undefined
  /** What the thread gets when it asks for all of what the chain holds. */
  readonly again: AsyncIterable<Uint8Array> | undefined
  readonly source: WriteTask['source']
}

interface Walk {
  readonly lines: AsyncIterable<Uint8Array> | undefined
  readonly wanted: Wanted | undefined
  readonly stamps: string | undefined
  /** Of what the list lets nobody look up; it fails the store. */
  readonly checking: Promise<void> | undefined
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
