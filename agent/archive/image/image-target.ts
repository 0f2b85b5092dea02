import { FleetError } from '../../../shared/errors.ts'
import type { Counters } from '../../tree/counters.ts'
import type { ByteReader } from '../read/byte-reader.ts'
import { readContent } from '../read/content-reader.ts'
import type { TarEntry } from '../read/tar-parser.ts'
import type { ImageBytes } from './image-bytes.ts'
import { chunkCount, chunkLength, chunkNumberOf, type ImageShape } from './image-shape.ts'

/** What file systems allocate at the least: a block of zeros is left out wherever it begins at a multiple of it. */
const BLOCK_BYTES = 4_096
const ZEROS = Buffer.alloc(BLOCK_BYTES)

/** Where the chunks of an archive go, in order: what reads as zeros, or is made to between them. */
export class ImageTarget {
  readonly #image: ImageBytes
  readonly #shape: ImageShape

  /** Behind the last that was placed. */
  #end = 0

  constructor(image: ImageBytes, shape: ImageShape) {
    this.#image = image
    this.#shape = shape
  }

  /** @param entry what the archive says of the chunk @returns SHA-256 of what it held. @throws corrupt, SystemError */
  place(path: string, entry: TarEntry, reader: ByteReader, counters: Counters): string {
    const number = chunkNumberOf(path)
    const isPlain = entry.type === 'file' && entry.sparse === undefined
    if (number === undefined || number >= chunkCount(this.#shape) || !isPlain)
      throw new FleetError('corrupt', 'the archive holds something that is no part of a volume')
    if (entry.storedSize !== chunkLength(this.#shape, number))
      throw new FleetError('corrupt', 'the archive holds a chunk of another size than its volume has')
    const start = number * this.#shape.chunkBytes
    this.#image.zero?.(this.#end, start)
    this.#end = start + chunkLength(this.#shape, number)
    const write = (bytes: Buffer, position: number) => this.#write(bytes, start + position)
    return readContent(entry, reader, { write, setLength: () => undefined }, counters)
  }

  /** All is placed: zeros behind it, and everything kept. @returns whether it may be lost all the same */
  finish(): boolean {
    this.#image.zero?.(this.#end, this.#image.endBytes ?? this.#shape.sizeBytes)
    this.#image.flush?.()
    return this.#image.isDoubtful
  }

  /** In as few calls as there are runs of blocks that are not zeros. */
  #write(bytes: Buffer, position: number): void {
    if (this.#image.zero !== undefined) {
      this.#image.write(bytes, position)
      return
    }
    let from = 0
    let at = (BLOCK_BYTES - (position % BLOCK_BYTES)) % BLOCK_BYTES
    for (; at + BLOCK_BYTES <= bytes.length; at += BLOCK_BYTES) {
      if (ZEROS.compare(bytes, at, at + BLOCK_BYTES) !== 0) continue
      if (from < at) this.#image.write(bytes.subarray(from, at), position + from)
      from = at + BLOCK_BYTES
    }
    if (from < bytes.length) this.#image.write(bytes.subarray(from), position + from)
  }
}
