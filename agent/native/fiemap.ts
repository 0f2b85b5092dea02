import { settled } from './file-system.ts'
import { libc } from './libc.ts'
import { checked, errorCodeOf } from './system-error.ts'

/** _IOWR('f', 11, struct fiemap), linux/fs.h; the struct and its flags: linux/fiemap.h. */
const FS_IOC_FIEMAP = 0xc020660b
const FIEMAP_FLAG_SYNC = 0x01
const HEADER_BYTES = 32
const EXTENT_BYTES = 56
/** Asked for at a time: 56 KiB. */
const EXTENTS = 1_024
/** Most are longer. */
const LEAST_BYTES = 4_096

const LAST = 0x01
/** UNKNOWN, DELALLOC, ENCODED, DATA_ENCRYPTED, NOT_ALIGNED, DATA_INLINE, DATA_TAIL: where its bytes lie says nothing of what they are. */
const OPAQUE = 0x02 | 0x04 | 0x08 | 0x80 | 0x100 | 0x200 | 0x400
const UNWRITTEN = 0x800
const SHARED = 0x2000
/** What a file system answers that has no such map; a block device: ENOTTY. */
const NOT_TOLD = ['EOPNOTSUPP', 'ENOTTY', 'EINVAL', 'EBADR', 'ENOSYS']

/** A piece of a file that is no hole, nor reserved and never written. */
export interface Extent {
  readonly offset: number
  readonly bytes: number
  /** Where it lies on its file system; undefined where that does not tell what it holds. */
  readonly at: number | undefined
  /** Another file has it too. */
  readonly isShared: boolean
}

/**
 * Where the bytes of a file lie, in order, once what was written has gone there. Off the event loop, a thousand extents at a time.
 * @returns undefined where the file system does not tell
 */
export async function extentsOf(fd: number): Promise<AsyncGenerator<readonly Extent[]> | undefined> {
  const map = emptyMap()
  try {
    await fill(map, fd, 0)
  } catch (error) {
    if (isNotTold(error)) return undefined
    throw error
  }
  return pages(map, fd)
}

async function* pages(map: Buffer, fd: number): AsyncGenerator<readonly Extent[]> {
  for (;;) {
    const { extents, end, isLast } = pageOf(map)
    yield extents
    if (isLast) return
    await fill(map, fd, end)
  }
}

/**
 * The same for a thread that may wait.
 * @param from and how many bytes behind it: extents that lie there, whole
 */
export function extentsNow(
  fd: number,
  from = 0,
  bytes = Number.POSITIVE_INFINITY,
): Generator<readonly Extent[]> | undefined {
  const map = emptyMap(Math.min(EXTENTS, Math.ceil(bytes / LEAST_BYTES) + 1))
  const end = from + bytes
  try {
    fillNow(map, fd, from, end)
  } catch (error) {
    if (isNotTold(error)) return undefined
    throw error
  }
  return pagesNow(map, fd, end)
}

function* pagesNow(map: Buffer, fd: number, limit: number): Generator<readonly Extent[]> {
  for (;;) {
    const { extents, end, isLast } = pageOf(map)
    yield extents
    if (isLast || end >= limit) return
    fillNow(map, fd, end, limit)
  }
}

function pageOf(map: Buffer): { readonly extents: readonly Extent[]; readonly end: number; readonly isLast: boolean } {
  const count = map.readUInt32LE(20)
  let [end, isLast] = [0, count === 0]
  const extents: Extent[] = []
  for (let place = HEADER_BYTES; place < HEADER_BYTES + count * EXTENT_BYTES; place += EXTENT_BYTES) {
    const [offset, bytes, flags] = [number(map, place), number(map, place + 16), map.readUInt32LE(place + 40)]
    end = offset + bytes
    isLast ||= (flags & LAST) !== 0
    if ((flags & UNWRITTEN) !== 0) continue
    const at = (flags & OPAQUE) === 0 ? number(map, place + 8) : undefined
    extents.push({ offset, bytes, at, isShared: (flags & SHARED) !== 0 })
  }
  return { extents, end, isLast }
}

function emptyMap(extents = EXTENTS): Buffer {
  return Buffer.alloc(HEADER_BYTES + extents * EXTENT_BYTES)
}

function isNotTold(error: unknown): boolean {
  return NOT_TOLD.includes(errorCodeOf(error) ?? '')
}

/** @throws SystemError */
function fill(map: Buffer, fd: number, from: number): Promise<void> {
  ask(map, from)
  return settled('FIEMAP', (done) => libc().ioctlBuffer.async(fd, FS_IOC_FIEMAP, map, done))
}

/** @throws SystemError */
function fillNow(map: Buffer, fd: number, from: number, end: number): void {
  ask(map, from, end)
  checked('FIEMAP', libc().ioctlBuffer(fd, FS_IOC_FIEMAP, map))
}

function ask(map: Buffer, from: number, end = Number.POSITIVE_INFINITY): void {
  map.fill(0, 0, HEADER_BYTES)
  map.writeBigUInt64LE(BigInt(from), 0)
  map.writeBigUInt64LE((end === Number.POSITIVE_INFINITY ? 2n ** 63n - 1n : BigInt(end)) - BigInt(from), 8)
  map.writeUInt32LE(FIEMAP_FLAG_SYNC, 16)
  map.writeUInt32LE((map.length - HEADER_BYTES) / EXTENT_BYTES, 24)
}

/** Addresses are below 2^63, and those of any disk below 2^53. */
function number(map: Buffer, at: number): number {
  return Number(map.readBigUInt64LE(at))
}
