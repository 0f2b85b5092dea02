import assert from 'node:assert/strict'
import type { Counters } from '../../tree/counters.ts'
import type { BytePath } from '../byte-path.ts'
import { ChunkReader } from './chunk-reader.ts'
import type { ImageBytes } from './image-bytes.ts'
import { chunkCount, chunkNumberOf, chunkPath, type ImageShape, VOLUME } from './image-shape.ts'

const PIECE_BYTES = 2 ** 18
const AHEAD_BYTES = 2 ** 23

/** Compares an image with the chunks that an index has, which come in order. */
export class ImageComparison {
  readonly #image: ImageBytes
  readonly #shape: ImageShape
  readonly #reader: ChunkReader
  readonly #counters: Counters
  readonly #differs: (path: BytePath) => void
  #next = 0

  constructor(
    image: ImageBytes,
    shape: ImageShape,
    to: { readonly counters: Counters; readonly differs: (path: BytePath) => void },
  ) {
    this.#image = image
    this.#shape = shape
    this.#reader = new ChunkReader(image, shape, () => to.counters.throwIfStopped())
    this.#counters = to.counters
    this.#differs = to.differs
  }

  /** @param path of a chunk */
  chunk(path: BytePath, hash: string | undefined): void {
    const number = chunkNumberOf(path) ?? assert.fail()
    this.#zerosBefore(number)
    const { problem } = this.#look(number)
    if (problem !== undefined || this.#reader.hash() !== hash) this.#differs(path)
    this.#next = number + 1
  }

  /** Of a file or LUN that is larger than the volume was, what is behind it is zeros. */
  finish(): void {
    this.#zerosBefore(chunkCount(this.#shape))
    const { endBytes } = this.#image
    if (endBytes !== undefined && !this.#isBlankTo(endBytes)) this.#differs(VOLUME)
  }

  #isBlankTo(end: number): boolean {
    const [piece, zeros] = [Buffer.alloc(PIECE_BYTES), Buffer.alloc(PIECE_BYTES)]
    for (let at = this.#shape.sizeBytes; at < end; at += PIECE_BYTES) {
      this.#counters.throwIfStopped()
      const room = piece.subarray(0, Math.min(PIECE_BYTES, end - at))
      this.#image.ahead(at, Math.min(end, at + AHEAD_BYTES))
      if (this.#image.read(room, at) !== undefined || !room.equals(zeros.subarray(0, room.length))) return false
    }
    return true
  }

  #zerosBefore(end: number): void {
    for (let at = this.#reader.nextData(this.#next); at < end; at = this.#reader.nextData(at + 1)) {
      this.#counters.throwIfStopped()
      if (!this.#look(at).isZero) this.#differs(chunkPath(at))
    }
  }

  #look(number: number) {
    this.#reader.readAhead(number)
    const looked = this.#reader.look(number)
    this.#counters.addBytes(Math.min(this.#shape.chunkBytes, this.#shape.sizeBytes))
    return looked
  }
}
