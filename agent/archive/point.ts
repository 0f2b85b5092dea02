import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { createZstdDecompress } from 'node:zlib'
import { FleetError } from '../../shared/errors.ts'
import { release } from '../native/release.ts'
import { type BytePath, comparePaths } from './byte-path.ts'
import { decompressFrame } from './compression.ts'
import {
  DATA,
  FRAMES,
  type Frame,
  type FrameTable,
  frameAt,
  INDEX,
  type IndexFrame,
  parseFrameTable,
} from './frame-table.ts'
import { HeldBytes } from './held-bytes.ts'
import type { IndexEntry, Member } from './member.ts'
import { parseEntry } from './parse-entry.ts'
import type { PointFiles, RangeSource } from './range-source.ts'

const NEWLINE = 0x0a
/** The table of an archive of 4 TiB; more cannot be ours. */
const MAX_TABLE_BYTES = 2 ** 27

/** One archive, open for reading: its table of frames is in memory, everything else is read where it is needed. */
export class Point implements AsyncDisposable {
  readonly table: FrameTable
  readonly #index: RangeSource
  readonly #data: RangeSource
  /** Frames of the index: the one that was read last, and the one that may be read next. */
  #kept: { readonly number: number; readonly text: HeldBytes } | undefined
  #ahead: { readonly number: number; readonly text: Promise<Buffer> } | undefined

  private constructor(table: FrameTable, index: RangeSource, data: RangeSource) {
    this.table = table
    this.#index = index
    this.#data = data
  }

  /** @throws not_found, corrupt, unavailable */
  static async open(files: PointFiles, signal: AbortSignal): Promise<Point> {
    const table = parseFrameTable(await readTable(files, signal))
    const index = await files.open(INDEX, signal)
    try {
      return new Point(table, index, await files.open(DATA[table.totals.compression], signal))
    } catch (error) {
      await index[Symbol.asyncDispose]()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#index[Symbol.asyncDispose]()
    await this.#data[Symbol.asyncDispose]()
  }

  /** The lines of the index as they are stored, a frame at a time; each is valid until the next is asked for. */
  async *lines(signal: AbortSignal): AsyncGenerator<Buffer> {
    for (const number of this.table.index.keys()) {
      using text = await this.indexText(number, signal)
      yield text.bytes
    }
  }

  /** In order, beginning with the first that is not before `from`. */
  async *entries(from: BytePath, signal: AbortSignal): AsyncGenerator<IndexEntry> {
    const frames = this.table.index
    for (let at = lastNotAfter(frames, from); at < frames.length; at += 1) {
      using held = await this.indexText(at, signal)
      const text = held.bytes
      // One after the other: of all lines at once a young collector would have much to carry.
      for (let start = 0, end = 0; start < text.length; start = end + 1) {
        end = text.indexOf(NEWLINE, start)
        if (end < 0) end = text.length
        if (end === start) continue
        const entry = parseEntry(text.toString('utf8', start, end))
        if (from === '' || comparePaths(entry.path, from) >= 0) yield entry
      }
    }
  }

  async find(path: BytePath, signal: AbortSignal): Promise<Member | undefined> {
    for await (const entry of this.entries(path, signal)) {
      return entry.path === path && entry.type !== 'gone' ? entry : undefined
    }
    return undefined
  }

  /** The number of the frame that holds this place of the tar. @throws corrupt */
  frameAt(rawOffset: number): number {
    return frameAt(this.table.data, rawOffset)
  }

  /** Whether what is stored of the tar ends where its last frame does. */
  get endsWithFrames(): boolean {
    const last = this.table.data.at(-1)
    return this.#data.size === (last === undefined ? 0 : last.offset + last.bytes)
  }

  /** One frame of the tar, checked. @throws corrupt */
  async frame(number: number, signal: AbortSignal): Promise<Buffer> {
    const frame = this.table.data[number]
    if (frame === undefined) throw new FleetError('corrupt', 'the index names a frame that is not there')
    const stored = await this.#data.read(frame.offset, frame.bytes, signal)
    checkHash(stored, frame)
    return this.table.totals.compression === 'none' ? stored : decompressFrame(stored, frame.rawBytes)
  }

  /**
   * The lines of one frame of the index, checked, for whoever disposes of them. Who went from one to the next finds the one behind it begun.
   * @throws corrupt
   */
  async indexText(number: number, signal: AbortSignal): Promise<HeldBytes> {
    const kept = this.#kept
    if (kept?.number === number) return kept.text.hold()
    const ahead = this.#ahead?.number === number ? this.#ahead : undefined
    const isNext = kept !== undefined && number === kept.number + 1
    this.#ahead = isNext && number + 1 < this.table.index.length ? this.#begun(number + 1, signal) : undefined
    // Begun for somebody who gave up meanwhile, it is read again.
    const read = () => this.#readIndex(number, signal)
    const text = new HeldBytes(await (ahead?.text.catch(read) ?? read()))
    this.#kept?.text[Symbol.dispose]()
    this.#kept = { number, text }
    return text.hold()
  }

  /** Whether a frame of the index is as it was stored; its lines are not read. @throws corrupt */
  async checkIndex(number: number, signal: AbortSignal): Promise<void> {
    release(await this.#storedIndex(number, signal))
  }

  #begun(number: number, signal: AbortSignal) {
    const text = this.#readIndex(number, signal)
    text.catch(() => undefined) // told by whoever awaits it
    return { number, text }
  }

  async #readIndex(number: number, signal: AbortSignal): Promise<Buffer> {
    return decompressFrame(await this.#storedIndex(number, signal), this.table.index[number]?.rawBytes ?? 0)
  }

  async #storedIndex(number: number, signal: AbortSignal): Promise<Buffer> {
    const frame = this.table.index[number]
    if (frame === undefined) throw new FleetError('internal', 'the index has no such frame')
    const stored = await this.#index.read(frame.offset, frame.bytes, signal)
    checkHash(stored, frame)
    return stored
  }
}

function checkHash(stored: Buffer, { hash }: Frame): void {
  if (createHash('sha256').update(stored).digest('hex') !== hash)
    throw new FleetError('corrupt', 'a frame does not match its recorded hash')
}

/** The frame in which `from` would be. */
export function lastNotAfter(frames: readonly IndexFrame[], from: BytePath): number {
  let low = 0
  let high = frames.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (comparePaths(frames[middle]?.firstPath ?? '', from) <= 0) low = middle
    else high = middle - 1
  }
  return low
}

/** Several frames one behind the other, in bounded memory whatever they claim. */
async function readTable(files: PointFiles, signal: AbortSignal): Promise<string> {
  await using source = await files.open(FRAMES, signal)
  if (source.size > MAX_TABLE_BYTES) throw new FleetError('corrupt', 'the table of frames is larger than any may be')
  const stored = await source.read(0, source.size, signal)
  const pieces: Buffer[] = []
  let bytes = 0
  try {
    // as: a stream of zlib yields Buffers
    for await (const piece of Readable.from([stored]).pipe(createZstdDecompress()) as AsyncIterable<Buffer>) {
      bytes += piece.length
      if (bytes > MAX_TABLE_BYTES) throw new FleetError('corrupt', 'the table of frames is larger than any may be')
      pieces.push(piece)
    }
  } catch (cause) {
    throw cause instanceof FleetError
      ? cause
      : new FleetError('corrupt', 'the table of frames cannot be read', { cause })
  }
  return Buffer.concat(pieces).toString('utf8')
}
