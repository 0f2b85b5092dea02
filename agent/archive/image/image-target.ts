import { FleetError } from '../../../shared/errors.ts'
import type { Counters } from '../../tree/counters.ts'
import type { ByteReader } from '../read/byte-reader.ts'
import { readContent } from '../read/content-reader.ts'
import type { TarEntry } from '../read/tar-parser.ts'
import { writeAt } from '../read/tree-builder.ts'
import { chunkCount, chunkLength, chunkNumberOf, type ImageShape } from './image-shape.ts'

/** What file systems allocate at the least: a block of zeros is left out wherever it begins at a multiple of it. */
const BLOCK_BYTES = 4_096
const ZEROS = Buffer.alloc(BLOCK_BYTES)

/** Where the chunks of an archive go: an open file or device that reads as zeros. */
export class ImageTarget {
  readonly #fd: number
  readonly #shape: ImageShape

  constructor(fd: number, shape: ImageShape) {
    this.#fd = fd
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
    const write = (bytes: Buffer, position: number) => this.#write(bytes, start + position)
    return readContent(entry, reader, { write, setLength: () => undefined }, counters)
  }

  /** In as few calls as there are runs of blocks that are not zeros. */
  #write(bytes: Buffer, position: number): void {
    let from = 0
    let at = (BLOCK_BYTES - (position % BLOCK_BYTES)) % BLOCK_BYTES
    for (; at + BLOCK_BYTES <= bytes.length; at += BLOCK_BYTES) {
      if (ZEROS.compare(bytes, at, at + BLOCK_BYTES) !== 0) continue
      if (from < at) writeAt(this.#fd, bytes.subarray(from, at), position + from)
      from = at + BLOCK_BYTES
    }
    if (from < bytes.length) writeAt(this.#fd, bytes.subarray(from), position + from)
  }
}
