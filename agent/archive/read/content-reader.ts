import { createHash, type Hash, hash } from 'node:crypto'
import { FleetError } from '../../../shared/errors.ts'
import type { Counters } from '../../tree/counters.ts'
import { paddingOf } from '../tar-header.ts'
import { type ByteReader, skip } from './byte-reader.ts'
import { checkExtents, type Extent, readHoleMap, type SparseForm } from './pax-fields.ts'
import type { TarEntry } from './tar-parser.ts'

/** Between two looks at the stop flag. */
const STEP_BYTES = 2 ** 20
const EMPTY_HASH = hash('sha256', '')

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
  const { sparse, storedSize } = entry
  const to = { reader, target, counters }
  const digest = sparse === undefined ? readDense(storedSize, to) : readSparse(sparse, storedSize, to)
  skip(reader, paddingOf(storedSize))
  return digest
}

interface Ends {
  readonly reader: ByteReader
  readonly target: ContentTarget
  readonly counters: Counters
}

function readDense(size: number, to: Ends): string {
  if (size === 0) return EMPTY_HASH
  const first = to.reader.some(Math.min(size, STEP_BYTES))
  to.target.write(first, 0)
  to.counters.addBytes(first.length)
  // The usual case needs no hash object.
  if (first.length === size) return hash('sha256', first)
  const whole = createHash('sha256').update(first)
  copyExtent({ offset: first.length, size: size - first.length }, whole, to)
  return whole.digest('hex')
}

function readSparse(sparse: SparseForm, storedSize: number, to: Ends): string {
  const map =
    sparse.kind === 'in-content' ? readHoleMap(to.reader) : { extents: sparse.extents, bytes: Buffer.alloc(0) }
  checkExtents(map.extents, sparse.size)
  if (map.extents.reduce((sum, { size }) => sum + size, map.bytes.length) !== storedSize)
    throw new FleetError('corrupt', 'the holes of a member make no sense')
  const whole = createHash('sha256').update(map.bytes)
  for (const extent of map.extents) copyExtent(extent, whole, to)
  to.target.setLength(sparse.size)
  return whole.digest('hex')
}

function copyExtent({ offset, size }: Extent, whole: Hash, { reader, target, counters }: Ends): void {
  for (let at = 0; at < size; ) {
    counters.throwIfStopped()
    const bytes = reader.some(Math.min(size - at, STEP_BYTES))
    whole.update(bytes)
    target.write(bytes, offset + at)
    at += bytes.length
    counters.addBytes(bytes.length)
  }
}
