import { libc } from '../../native/libc.ts'
import { checked, lastErrorCode } from '../../native/system-error.ts'
import { BLOCK, paddingOf } from '../tar-header.ts'

const SEEK_DATA = 3
const SEEK_HOLE = 4
/** Beyond this many, what is left of the file is stored as data: the content stays right, only holes are lost. */
const MAX_EXTENTS = 65_536

export interface Extent {
  readonly offset: number
  readonly size: number
}

/** @returns where the data of a file is; undefined when it has no hole. @throws SystemError */
export function findExtents(fd: number, sizeBytes: number): readonly Extent[] | undefined {
  const { lseek } = libc()
  const extents: Extent[] = []
  for (let end = 0; end < sizeBytes; ) {
    const start = lseek(fd, end, SEEK_DATA)
    if (start < 0 && lastErrorCode() === 'ENXIO') break
    checked('lseek', start)
    if (start >= sizeBytes) break
    const hole = extents.length === MAX_EXTENTS - 1 ? sizeBytes : checked('lseek', lseek(fd, start, SEEK_HOLE))
    end = Math.min(hole, sizeBytes)
    extents.push({ offset: start, size: end - start })
  }
  const [first] = extents
  if (first?.offset === 0 && first.size === sizeBytes) return undefined
  return extents
}

/** The map of GNU's sparse format 1.0: decimal numbers a line each, filled to a block; a last empty extent tells the size. */
export function encodeMap(extents: readonly Extent[], sizeBytes: number): Buffer {
  const last = extents.at(-1)
  const all =
    last !== undefined && last.offset + last.size === sizeBytes ? extents : [...extents, { offset: sizeBytes, size: 0 }]
  const text = `${all.length}\n${all.map(({ offset, size }) => `${offset}\n${size}\n`).join('')}`
  const map = Buffer.alloc(Math.max(BLOCK, text.length + paddingOf(text.length)))
  map.write(text, 0, 'latin1')
  return map
}
