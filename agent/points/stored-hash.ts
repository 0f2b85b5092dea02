import { createHash, type Hash } from 'node:crypto'
import { read as readCallback } from 'node:fs'
import { promisify } from 'node:util'
import type { Member } from '../archive/member.ts'
import type { ComposedContent } from '../archive/read/composed-content.ts'
import { readStoredMap } from '../archive/read/stored-map.ts'
import type { TarBytes } from '../archive/read/tar-bytes.ts'
import { findExtents } from '../archive/write/hole-map.ts'
import { MemoryReader } from '../native/memory-reader.ts'

const read = promisify(readCallback)
const STEP_BYTES = 2 ** 20
const SHORT_BYTES = 2 ** 17

interface Extent {
  readonly offset: number
  readonly size: number
}

/** What files are read with, one after the other. */
export class FileReading {
  /** With memory for all of them: of its own for each it would wait for a collector. */
  readonly memory = new MemoryReader(Buffer.allocUnsafeSlow(STEP_BYTES))
  /** Is called with the size of each piece that was read. */
  readonly counted: (bytes: number) => void

  constructor(counted: (bytes: number) => void) {
    this.counted = counted
  }
}

/**
 * SHA-256 of a file as an archive stores it, from the file itself. Of one with holes the map of its holes is stored too; it is
 * taken from the archive, and everything outside of it must be zero: file systems differ in where a hole may begin.
 * @returns hex; '' when data stand where the map has a hole
 */
export async function hashAsStored(
  fd: number,
  member: Member,
  archive: TarBytes,
  reading: FileReading,
): Promise<string> {
  const hash = createHash('sha256')
  if (!member.holes) {
    await hashRange(fd, { offset: 0, size: member.size }, hash, reading)
    return hash.digest('hex')
  }
  const map = await readStoredMap(member, archive)
  hash.update(map.bytes)
  for (const extent of map.extents) await hashRange(fd, extent, hash, reading)
  if (!(await isZeroOutside(fd, member.size, map.extents, reading))) return ''
  return hash.digest('hex')
}

/** Whether a file is what a whole member and the patches over it make up. @throws corrupt */
export async function isAsComposed(fd: number, content: ComposedContent, reading: FileReading): Promise<boolean> {
  for await (const { offset, bytes } of content.pieces()) {
    let at = 0
    for await (const piece of pieces(fd, { offset, size: bytes.length }, reading)) {
      if (!piece.equals(bytes.subarray(at, at + piece.length))) return false
      at += piece.length
    }
    if (at < bytes.length) return false
    reading.counted(at)
  }
  return isZeroOutside(fd, content.sizeBytes, content.runs, reading)
}

async function hashRange(fd: number, extent: Extent, hash: Hash, reading: FileReading): Promise<void> {
  for await (const piece of pieces(fd, extent, reading)) {
    hash.update(piece)
    reading.counted(piece.length)
  }
}

/** Each is valid until the next is asked for. */
async function* pieces(fd: number, { offset, size }: Extent, { memory }: FileReading): AsyncGenerator<Buffer> {
  const { room } = memory
  for (let done = 0; done < size; ) {
    const [wanted, place] = [Math.min(room.length, size - done), offset + done]
    // The way through another thread takes longer than a short file; of a long one others get their turn between its pieces.
    const atOnce = size <= SHORT_BYTES ? memory.read(fd, wanted, place) : -1
    const bytesRead = atOnce >= 0 ? atOnce : (await read(fd, room, 0, wanted, place)).bytesRead
    if (bytesRead === 0) return
    done += bytesRead
    yield room.subarray(0, bytesRead)
  }
}

/** @param map in order */
async function isZeroOutside(
  fd: number,
  sizeBytes: number,
  map: readonly Extent[],
  reading: FileReading,
): Promise<boolean> {
  let next = 0
  for (const { offset, size } of findExtents(fd, sizeBytes) ?? [{ offset: 0, size: sizeBytes }]) {
    const end = offset + size
    for (let at = offset; at < end; ) {
      for (let known = map[next]; known !== undefined && known.offset + known.size <= at; known = map[next]) next += 1
      const known = map[next]
      const until = Math.min(known?.offset ?? end, end)
      if (until > at && !(await isZero(fd, { offset: at, size: until - at }, reading))) return false
      at = known === undefined ? end : Math.max(until, Math.min(known.offset + known.size, end))
    }
  }
  return true
}

async function isZero(fd: number, extent: Extent, reading: FileReading): Promise<boolean> {
  for await (const piece of pieces(fd, extent, reading)) {
    reading.counted(piece.length)
    if (piece.some((byte) => byte !== 0)) return false
  }
  return true
}
