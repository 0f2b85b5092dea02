import { createHash, hash } from 'node:crypto'
import { libc } from '../../native/libc.ts'
import { checked, lastErrorCode } from '../../native/system-error.ts'
import type { ProblemReason } from '../member.ts'
import { chunkLength, type ImageShape } from './image-shape.ts'

const SEEK_DATA = 3
const SEEK_HOLE = 4
/** linux/fadvise.h */
const POSIX_FADV_WILLNEED = 3
/** The kernel by itself reads ahead too little to keep a disk busy while a chunk is hashed: 512 MiB that were not in memory took 0.7 s with this, 1.1 to 3.5 s without. */
const AHEAD_BYTES = 2 ** 23
/** Chunks are read whole up to here, so all of volumes up to 4 TiB; longer ones in pieces, and again when they are stored. */
const PIECE_BYTES = 2 ** 22

export interface LookedChunk {
  /** Nothing of it was read badly, and all of it is zeros. */
  readonly isZero: boolean
  readonly problem: ProblemReason | undefined
}

/** Reads an image chunk by chunk, knowing its holes. Bytes that cannot be read, or are not there any more, are zeros and a problem. */
export class ChunkReader {
  readonly #fd: number
  readonly #shape: ImageShape
  readonly #throwIfStopped: () => void
  readonly #piece: Buffer
  readonly #zeros: Buffer
  /** The data that was found last; empty before there was any. */
  #dataStart = 0
  #dataEnd = 0
  /** Up to here the kernel was told to read. */
  #advised = 0
  #position = 0
  #length = 0
  #hash: string | undefined

  /** @param fd stays open */
  constructor(fd: number, shape: ImageShape, throwIfStopped: () => void) {
    this.#fd = fd
    this.#shape = shape
    this.#throwIfStopped = throwIfStopped
    const bytes = Math.min(shape.chunkBytes, PIECE_BYTES)
    this.#piece = Buffer.allocUnsafeSlow(bytes)
    this.#zeros = Buffer.alloc(bytes)
  }

  /** The first from `number` on that is not all in a hole; one behind the last when there is none. @throws SystemError */
  nextData(number: number): number {
    const { sizeBytes, chunkBytes } = this.#shape
    const from = number * chunkBytes
    if (from >= this.#dataEnd) this.#findData(from)
    return Math.max(number, Math.floor(Math.min(this.#dataStart, sizeBytes + chunkBytes - 1) / chunkBytes))
  }

  /** Has the kernel begin to read what comes behind a chunk, as far as the data go that were found last: where all is read. */
  readAhead(number: number): void {
    const at = number * this.#shape.chunkBytes
    const end = Math.min(at + AHEAD_BYTES, this.#dataEnd, this.#shape.sizeBytes)
    const from = Math.max(at, this.#advised)
    if (from < end && this.#advised < at + AHEAD_BYTES / 2) this.#advise(from, end)
  }

  /** Has the kernel begin to read a chunk, or its beginning. */
  willRead(number: number): void {
    const at = number * this.#shape.chunkBytes
    this.#advise(at, at + Math.min(this.#shape.chunkBytes, AHEAD_BYTES))
  }

  /** @param number before the image's end @throws cancelled */
  look(number: number): LookedChunk {
    this.#position = number * this.#shape.chunkBytes
    this.#length = chunkLength(this.#shape, number)
    this.#hash = undefined
    return this.#length <= this.#piece.length ? this.#lookWhole() : this.#lookInPieces()
  }

  /** SHA-256 of the chunk that was looked at last. */
  hash(): string {
    this.#hash ??= hash('sha256', this.#piece.subarray(0, this.#length))
    return this.#hash
  }

  /**
   * Gives the chunk that was looked at last away. @param put takes bytes that are valid until it returns
   * @returns SHA-256 of what was given, and what was wrong with it now
   */
  give(put: (bytes: Buffer) => void): { readonly hash: string; readonly problem: ProblemReason | undefined } {
    if (this.#length <= this.#piece.length) {
      put(this.#piece.subarray(0, this.#length))
      return { hash: this.hash(), problem: undefined }
    }
    const whole = createHash('sha256')
    const problem = this.#forPieces((bytes) => {
      whole.update(bytes)
      put(bytes)
    })
    return { hash: whole.digest('hex'), problem }
  }

  #advise(from: number, end: number): void {
    // Only a hint: whoever knows none reads as he does.
    libc().posix_fadvise(this.#fd, from, end - from, POSIX_FADV_WILLNEED)
    this.#advised = end
  }

  #lookWhole(): LookedChunk {
    this.#throwIfStopped()
    const bytes = this.#piece.subarray(0, this.#length)
    const problem = readPadded(this.#fd, bytes, this.#position)
    return { isZero: problem === undefined && this.#isZero(bytes), problem }
  }

  #lookInPieces(): LookedChunk {
    const whole = createHash('sha256')
    let isZero = true
    const problem = this.#forPieces((bytes) => {
      isZero &&= this.#isZero(bytes)
      whole.update(bytes)
    })
    this.#hash = whole.digest('hex')
    return { isZero: problem === undefined && isZero, problem }
  }

  #forPieces(take: (bytes: Buffer) => void): ProblemReason | undefined {
    let problem: ProblemReason | undefined
    for (let done = 0; done < this.#length; ) {
      this.#throwIfStopped()
      const bytes = this.#piece.subarray(0, Math.min(this.#piece.length, this.#length - done))
      const found = readPadded(this.#fd, bytes, this.#position + done)
      problem ??= found
      take(bytes)
      done += bytes.length
    }
    return problem
  }

  #isZero(bytes: Buffer): boolean {
    return bytes.equals(bytes.length === this.#zeros.length ? this.#zeros : this.#zeros.subarray(0, bytes.length))
  }

  #findData(from: number): void {
    const { sizeBytes } = this.#shape
    const start = libc().lseek(this.#fd, from, SEEK_DATA)
    const code = start < 0 ? lastErrorCode() : undefined
    if (code === 'ENXIO') {
      // Nothing but a hole from here on.
      this.#dataStart = sizeBytes + this.#shape.chunkBytes
      this.#dataEnd = Number.POSITIVE_INFINITY
    } else if (code === 'EINVAL' || code === 'EOPNOTSUPP') {
      // A block device does not tell.
      this.#dataStart = from
      this.#dataEnd = Number.POSITIVE_INFINITY
    } else {
      this.#dataStart = checked('lseek', start)
      this.#dataEnd = checked('lseek', libc().lseek(this.#fd, this.#dataStart, SEEK_HOLE))
    }
  }
}

function readPadded(fd: number, room: Buffer, position: number): ProblemReason | undefined {
  let read = 0
  while (read < room.length) {
    const bytes = libc().pread(fd, read === 0 ? room : room.subarray(read), room.length - read, position + read)
    if (bytes <= 0) {
      room.fill(0, read)
      return bytes < 0 ? 'unreadable' : 'changed'
    }
    read += bytes
  }
  return undefined
}
