import { FleetError } from '../../../shared/errors.ts'
import type { Counters } from '../../tree/counters.ts'
import type { ByteReader } from '../read/byte-reader.ts'
import { readContent } from '../read/content-reader.ts'
import type { TarEntry } from '../read/tar-parser.ts'
import { writeAt } from '../read/tree-builder.ts'
import { chunkCount, chunkLength, chunkNumberOf, type ImageShape } from './image-shape.ts'

/** Where the chunks of an archive go: an open file or device. */
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
    const write = (bytes: Buffer, position: number) => writeAt(this.#fd, bytes, start + position)
    return readContent(entry, reader, { write, setLength: () => undefined }, counters)
  }
}
