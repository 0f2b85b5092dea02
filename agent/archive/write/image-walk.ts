import { hash } from 'node:crypto'
import { FleetError } from '../../../shared/errors.ts'
import type { Counters } from '../../tree/counters.ts'
import type { BytePath } from '../byte-path.ts'
import { ChunkReader } from '../image/chunk-reader.ts'
import type { ImageBytes } from '../image/image-bytes.ts'
import {
  CHUNKS,
  chunkCount,
  chunkLength,
  chunkNumberOf,
  chunkPath,
  type ImageShape,
  shapeText,
  VOLUME,
} from '../image/image-shape.ts'
import { goneLine, type Member, type MemberType, memberLine, type ProblemReason } from '../member.ts'
import { FLAGS, HeaderEncoder, paddingOf } from '../tar-header.ts'
import type { FrameFiller } from './frame-filler.ts'
import type { PreviousEntries, PreviousEntry } from './previous-entries.ts'

/** No image has the times of its pieces: these make the same bytes of the same image. */
const TIME = '1000000000.000000000'
const FILE_MODE = 0o600
const DIRECTORY_MODE = 0o700
/** Chunks that are asked for before they are read, where they are listed. */
const LISTED_AHEAD = 8
/** Of tar that is told at once. */
const GONE_BYTES = 2 ** 16

export interface ImageParts {
  readonly image: ImageBytes
  readonly shape: ImageShape
  /** These alone are looked at; what the chain holds of others stays. */
  readonly only: Uint32Array | undefined
  readonly frames: FrameFiller
  readonly counters: Counters
  readonly line: (path: BytePath, line: string) => void
  readonly problem: (path: BytePath, reason: ProblemReason) => void
  /** For plain tar: chunks that are zeros now, as empty files. */
  readonly gone: (tarBytes: Uint8Array<ArrayBuffer>) => void
  /** What the chain holds, or at least of what is looked at. */
  readonly previous: PreviousEntries | undefined
}

/** Writes what is to be written of an image, in the order of the index. Synchronous. */
export class ImageWalk {
  readonly #parts: ImageParts
  readonly #count: number
  readonly #reader: ChunkReader
  readonly #encoder = new HeaderEncoder()
  /** Where a file ends that has become too short. */
  #endBytes = Number.POSITIVE_INFINITY
  #hasParents = false
  #gone: Buffer[] = []

  constructor(parts: ImageParts) {
    this.#parts = parts
    this.#count = chunkCount(parts.shape)
    this.#reader = new ChunkReader(parts.image, parts.shape, () => parts.counters.throwIfStopped())
  }

  /** @throws SystemError; cancelled; conflict when the chain is of something else */
  run(): void {
    const { only, image, shape } = this.#parts
    const { stamp, endBytes } = image
    if (endBytes !== undefined && endBytes < shape.sizeBytes) this.#endBytes = endBytes
    if (only === undefined) this.#visitAll()
    else this.#visitListed(only)
    this.#passUntil(Number.POSITIVE_INFINITY)
    this.#volume()
    this.#flushGone()
    if (image.stamp !== stamp) this.#parts.problem(VOLUME, 'changed')
  }

  #visitAll(): void {
    for (let number = this.#next(0); number < this.#count; number = this.#next(number + 1)) {
      this.#reader.readAhead(number)
      this.#visit(number)
    }
  }

  #visitListed(only: Uint32Array): void {
    for (const number of only.subarray(0, LISTED_AHEAD)) this.#reader.willRead(number)
    for (const [at, number] of only.entries()) {
      const later = only[at + LISTED_AHEAD]
      if (later !== undefined) this.#reader.willRead(later)
      if (number < this.#count) this.#visit(number)
    }
  }

  /** From `number` on, the first that holds data, or that the chain holds, or that is missing. */
  #next(number: number): number {
    if (number >= this.#count) return number
    this.#passUntil(number)
    const missing = Math.max(number, Math.floor(this.#endBytes / this.#parts.shape.chunkBytes))
    const known = chunkNumberOf(this.#parts.previous?.current?.path ?? '') ?? Number.POSITIVE_INFINITY
    return Math.min(this.#reader.nextData(number), known, missing)
  }

  #visit(number: number): void {
    const { shape, previous } = this.#parts
    this.#parts.counters.throwIfStopped()
    this.#passUntil(number)
    const path = chunkPath(number)
    const entry = previous?.current?.path === path ? previous.current : undefined
    if (entry !== undefined) previous?.advance()
    // What the chain holds of it stays, as nobody knows better.
    if (number * shape.chunkBytes >= this.#endBytes) this.#parts.problem(path, 'changed')
    else if (this.#reader.nextData(number) !== number) this.#zeros(path, entry)
    else this.#compare(number, entry)
  }

  #compare(number: number, entry: PreviousEntry | undefined): void {
    const [path, length] = [chunkPath(number), chunkLength(this.#parts.shape, number)]
    const { isZero, problem } = this.#reader.look(number)
    const isKnown = entry?.flawed === false && entry.size === length && problem === undefined
    if (isZero) this.#zeros(path, entry)
    else if (!isKnown || entry.hash !== this.#reader.hash()) this.#write(path, length, problem)
  }

  #zeros(path: BytePath, entry: PreviousEntry | undefined): void {
    if (entry === undefined) return
    this.#parents()
    this.#parts.line(path, goneLine(path))
    this.#gone.push(Buffer.from(this.#header({ path, flag: FLAGS.file, mode: FILE_MODE, size: 0 })))
    if (this.#gone.length * 512 >= GONE_BYTES) this.#flushGone()
  }

  #flushGone(): void {
    if (this.#gone.length > 0) this.#parts.gone(new Uint8Array(Buffer.concat(this.#gone)))
    this.#gone = []
  }

  #write(path: BytePath, length: number, looked: ProblemReason | undefined): void {
    this.#parents()
    const { frames, counters } = this.#parts
    const place = this.#place({ path, flag: FLAGS.file, mode: FILE_MODE, size: length })
    const given = this.#reader.give((bytes) => {
      frames.put(bytes)
      counters.addBytes(bytes.length)
    })
    frames.zeros(paddingOf(length))
    const problem = looked ?? given.problem
    if (problem !== undefined) this.#parts.problem(path, problem)
    this.#line(path, 'file', { ...place, size: length, storedSize: length, hash: given.hash, problem })
  }

  #volume(): void {
    const { previous, frames, counters } = this.#parts
    const text = Buffer.from(shapeText(this.#parts.shape))
    const digest = hash('sha256', text)
    const entry = previous?.current
    if (entry !== undefined && entry.path !== VOLUME) throw ofSomethingElse()
    if (entry?.hash === digest && !entry.flawed) return
    this.#parents()
    const place = this.#place({ path: VOLUME, flag: FLAGS.file, mode: FILE_MODE, size: text.length })
    frames.put(text)
    frames.zeros(paddingOf(text.length))
    counters.addBytes(text.length)
    this.#line(VOLUME, 'file', { ...place, size: text.length, storedSize: text.length, hash: digest })
  }

  /** Moves on to what the chain holds of a chunk or later; what it holds behind the image's end is gone. */
  #passUntil(number: number): void {
    const { previous } = this.#parts
    for (let entry = previous?.current; entry !== undefined; entry = previous?.current) {
      if (entry.path === VOLUME) return
      const found = chunkNumberOf(entry.path)
      if (found !== undefined && found >= number) return
      const isOurs = found === undefined ? entry.isDirectory && isParent(entry.path) : !entry.isDirectory
      if (!isOurs) throw ofSomethingElse()
      if (found !== undefined && found >= this.#count) this.#zeros(entry.path, entry)
      previous?.advance()
    }
  }

  /** Before the first member, so that every archive of a chain can be extracted by itself. */
  #parents(): void {
    if (this.#hasParents) return
    this.#hasParents = true
    for (const path of ['', CHUNKS]) {
      const place = this.#place({ path, flag: FLAGS.directory, mode: DIRECTORY_MODE, size: 0 })
      this.#line(path, 'directory', { ...place, size: 0 })
    }
  }

  #place(fields: HeaderOf) {
    const { frames } = this.#parts
    const bytes = this.#header(fields)
    frames.keepWhole(bytes.length)
    frames.settle()
    const { offset, frame } = frames
    frames.put(bytes)
    return { offset, frame, dataOffset: frames.offset }
  }

  /** @returns valid until the next call */
  #header({ path, flag, mode, size }: HeaderOf): Buffer {
    const name = flag === FLAGS.directory ? `./${path}${path === '' ? '' : '/'}` : `./${path}`
    const nothing = { uid: 0, gid: 0, link: '', major: 0, minor: 0, records: [] }
    return this.#encoder.encode({ ...nothing, name, flag, mode, size, mtime: TIME })
  }

  #line(
    path: BytePath,
    type: MemberType,
    rest: Pick<Member, 'offset' | 'frame' | 'dataOffset' | 'size'> & Partial<Member>,
  ): void {
    const line = memberLine({
      path,
      type,
      mode: type === 'directory' ? DIRECTORY_MODE : FILE_MODE,
      uid: 0,
      gid: 0,
      mtime: TIME,
      ctime: TIME,
      inode: 0,
      links: 1,
      storedSize: 0,
      hash: undefined,
      link: undefined,
      linkOffset: undefined,
      holes: false,
      patch: undefined,
      problem: undefined,
      ...rest,
    })
    this.#parts.line(path, line)
    this.#parts.counters.addFiles(1)
  }
}

interface HeaderOf {
  readonly path: BytePath
  readonly flag: number
  readonly mode: number
  readonly size: number
}

function isParent(path: BytePath): boolean {
  return path === '' || path === CHUNKS
}

function ofSomethingElse(): FleetError {
  return new FleetError('conflict', 'the points below are not of a volume')
}
