import { createHash, type Hash } from 'node:crypto'
import { FleetError } from '../../../shared/errors.ts'
import type { Counters } from '../../tree/counters.ts'
import { paddingOf } from '../tar-header.ts'
import { type ByteReader, skip } from './byte-reader.ts'
import { checkExtents, type Extent, readHoleMap } from './pax-fields.ts'
import type { TarEntry } from './tar-parser.ts'

/** Between two looks at the stop flag. */
const STEP_BYTES = 2 ** 20

/** Where the content of a file goes. */
export interface ContentTarget {
  write(bytes: Buffer, position: number): void
  setLength(size: number): void
}

/**
 * Reads what is stored of a file, hole map included, and puts its data where they belong.
 * @returns SHA-256 of what is stored, hex. @throws corrupt; what the target throws
 */
export function readContent(entry: TarEntry, reader: ByteReader, target: ContentTarget, counters: Counters): string {
  const hash = createHash('sha256')
  const { sparse, storedSize } = entry
  if (sparse === undefined) {
    copyExtent({ offset: 0, size: storedSize }, { reader, target, hash, counters })
  } else {
    const map = sparse.kind === 'in-content' ? readHoleMap(reader) : { extents: sparse.extents, bytes: Buffer.alloc(0) }
    checkExtents(map.extents, sparse.size)
    if (map.extents.reduce((sum, { size }) => sum + size, map.bytes.length) !== storedSize)
      throw new FleetError('corrupt', 'the holes of a member make no sense')
    hash.update(map.bytes)
    for (const extent of map.extents) copyExtent(extent, { reader, target, hash, counters })
    target.setLength(sparse.size)
  }
  skip(reader, paddingOf(storedSize))
  return hash.digest('hex')
}

function copyExtent(
  { offset, size }: Extent,
  to: { readonly reader: ByteReader; readonly target: ContentTarget; readonly hash: Hash; readonly counters: Counters },
): void {
  for (let at = 0; at < size; ) {
    to.counters.throwIfStopped()
    const bytes = to.reader.some(Math.min(size - at, STEP_BYTES))
    to.hash.update(bytes)
    to.target.write(bytes, offset + at)
    at += bytes.length
    to.counters.addBytes(bytes.length)
  }
}
