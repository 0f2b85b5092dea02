import { libc } from '../../native/libc.ts'
import { checked, lastErrorCode } from '../../native/system-error.ts'
import { type BytePath, isUtf8, nameOf, parentOf } from '../byte-path.ts'
import { BLOCK, paddingOf, paxRecord } from '../tar-header.ts'

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

/** GNU's records of a file with holes; tools that do not know them extract the map and the data under the name here. */
export function sparseHeader(path: BytePath, size: number, records: readonly Buffer[]) {
  const known = [
    paxRecord('GNU.sparse.major', '1'),
    paxRecord('GNU.sparse.minor', '0'),
    paxRecord('GNU.sparse.realsize', String(size)),
    ...records,
  ]
  // bsdtar takes that record for UTF-8 and gives up on anything else; the header's own name is bytes.
  if (!isUtf8(path)) return { name: `./${path}`, records: known }
  const parent = parentOf(path)
  const name = `./${parent === '' ? '' : `${parent}/`}GNUSparseFile.0/${nameOf(path)}`
  return { name, records: [...known, paxRecord('GNU.sparse.name', `./${path}`)] }
}
