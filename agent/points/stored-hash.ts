import { createHash, type Hash } from 'node:crypto'
import { read as readCallback } from 'node:fs'
import { promisify } from 'node:util'
import type { Member } from '../archive/member.ts'
import type { TarBytes } from '../archive/read/tar-bytes.ts'
import { BLOCK } from '../archive/tar-header.ts'
import { findExtents } from '../archive/write/hole-map.ts'

const read = promisify(readCallback)
const STEP_BYTES = 2 ** 20

interface Extent {
  readonly offset: number
  readonly size: number
}

/**
 * SHA-256 of a file as an archive stores it, from the file itself. Of one with holes the map of its holes is stored too; it is
 * taken from the archive, and everything outside of it must be zero: file systems differ in where a hole may begin.
 * @param counted is called with the size of each piece that was read @returns hex; '' when data stand where the map has a hole
 */
export async function hashAsStored(
  fd: number,
  member: Member,
  archive: TarBytes,
  counted: (bytes: number) => void,
): Promise<string> {
  const hash = createHash('sha256')
  if (!member.holes) {
    await hashRange(fd, { offset: 0, size: member.size }, hash, counted)
    return hash.digest('hex')
  }
  const map = await readMap(member, archive)
  hash.update(map.bytes)
  for (const extent of map.extents) await hashRange(fd, extent, hash, counted)
  if (!(await isZeroOutside(fd, member.size, map.extents, counted))) return ''
  return hash.digest('hex')
}

async function hashRange(fd: number, extent: Extent, hash: Hash, counted: (bytes: number) => void): Promise<void> {
  for await (const piece of pieces(fd, extent)) {
    hash.update(piece)
    counted(piece.length)
  }
}

async function* pieces(fd: number, { offset, size }: Extent): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(Math.min(size, STEP_BYTES))
  for (let done = 0; done < size; ) {
    const { bytesRead } = await read(fd, buffer, 0, Math.min(buffer.length, size - done), offset + done)
    if (bytesRead === 0) return
    done += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}

/** Decimal numbers, a line each: how many extents, then offset and size of each; filled up to a block. */
async function readMap(
  member: Member,
  archive: TarBytes,
): Promise<{ readonly bytes: Buffer; readonly extents: readonly Extent[] }> {
  for (let length = BLOCK; length <= member.storedSize; length += BLOCK) {
    const bytes = await archive.read(member.dataOffset, length)
    const lines = bytes.toString('latin1').split('\n')
    const count = Number(lines[0])
    // The last piece is what follows the last newline.
    if (lines.length - 1 < 1 + 2 * count) continue
    const extents = Array.from({ length: count }, (_, at) => ({
      offset: Number(lines[1 + 2 * at]),
      size: Number(lines[2 + 2 * at]),
    }))
    return { bytes, extents }
  }
  return { bytes: Buffer.alloc(0), extents: [] }
}

async function isZeroOutside(
  fd: number,
  sizeBytes: number,
  map: readonly Extent[],
  counted: (bytes: number) => void,
): Promise<boolean> {
  for (const extent of findExtents(fd, sizeBytes) ?? [{ offset: 0, size: sizeBytes }]) {
    let at = extent.offset
    const end = extent.offset + extent.size
    for (const { offset, size } of [...map, { offset: sizeBytes, size: 0 }]) {
      if (offset > at && !(await isZero(fd, { offset: at, size: Math.min(offset, end) - at }, counted))) return false
      at = Math.max(at, offset + size)
      if (at >= end) break
    }
  }
  return true
}

async function isZero(fd: number, extent: Extent, counted: (bytes: number) => void): Promise<boolean> {
  for await (const piece of pieces(fd, extent)) {
    counted(piece.length)
    if (piece.some((byte) => byte !== 0)) return false
  }
  return true
}
