import { createHash, hash } from 'node:crypto'
import type { ProblemReason } from '../member.ts'
import type { ImageBytes } from './image-bytes.ts'
import { chunkLength, type ImageShape } from './image-shape.ts'

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
  readonly #bytes: ImageBytes
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

  /** @param image stays open */
  constructor(image: ImageBytes, shape: ImageShape, throwIfStopped: () => void) {
    this.#bytes = image
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
    this.#bytes.ahead(from, end)
    this.#advised = end
  }

  #lookWhole(): LookedChunk {
    this.#throwIfStopped()
    const bytes = this.#piece.subarray(0, this.#length)
    const problem = this.#bytes.read(bytes, this.#position)
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
      const found = this.#bytes.read(bytes, this.#position + done)
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
    const found = this.#bytes.data(from)
    // Nothing but a hole from here on.
    this.#dataStart = found?.start ?? this.#shape.sizeBytes + this.#shape.chunkBytes
    this.#dataEnd = found?.end ?? Number.POSITIVE_INFINITY
  }
}
