import { fstatSync, readSync, writeSync } from 'node:fs'
import { FleetError } from '../../shared/errors.ts'
import { type Status, timeText } from '../native/status.ts'

/** More than a tick of the clock that times of files are taken from, and than a second where a file system counts only those. */
export const SETTLED_MS = 2_000

/**
 * What a clone's files were when they were cloned: number and ctime of the live file by the number of its clone. A header of 64
 * bytes, then records of 24 (clone, live: doubles; ctime in nanoseconds: 64 bits; all little-endian), sorted by clone in runs.
 */
const MAGIC = 'holdfast stamps1'
const HEADER_BYTES = 64
const BORN_BYTES = 24
const RECORD_BYTES = 24
/** Sorted in memory: 24 MiB, and as much again while a run is written. */
const RUN_RECORDS = 2 ** 20
const FIRST_RECORDS = 4_096
/** A number is sorted with its place in the run behind it. */
const PLACE_BITS = 20n
const MAX_INODE = 2 ** 44
/** Divides a run. 48 KiB. */
const PAGE_RECORDS = 2 ** 11
const PAGE_BYTES = PAGE_RECORDS * RECORD_BYTES
/** 24 MiB: all of a million files, whatever the order in which they are asked for. */
const KEPT_PAGES = 512
/** In the place of a ctime that says nothing. */
const UNSETTLED = -(2n ** 63n)
const NANOSECONDS = 1_000_000_000n
const MAX_INT64 = 2n ** 63n - 1n

type Looked = Pick<Status, 'inode' | 'changedNanoseconds'>

/** Gathers the stamps of one clone and writes them. Call `finish`, then `sealStamps` once the clone is complete. */
export class StampWriter {
  readonly #fd: number
  readonly #settledBefore: bigint
  #run = Buffer.allocUnsafeSlow(FIRST_RECORDS * RECORD_BYTES)
  #count = 0
  #position = HEADER_BYTES

  /**
   * @param fd of an empty file @param settledBeforeMs since the epoch; the ctime of what changed then or later is not kept: it may
   * change again within one tick of the clock, or through a mapping, and look the same
   */
  constructor(fd: number, settledBeforeMs: number) {
    this.#fd = fd
    this.#settledBefore = BigInt(settledBeforeMs) * 1_000_000n
  }

  /** @param live before its content was read @param after the same behind it: the ctime of a file that changed between them is not kept */
  add(clone: Looked, live: Looked, after: Looked): void {
    const [changed, cloneInode] = [live.changedNanoseconds, clone.inode]
    const isSettled =
      changed < this.#settledBefore && after.changedNanoseconds === changed && after.inode === live.inode
    if (cloneInode >= MAX_INODE || changed > MAX_INT64 || changed < -MAX_INT64) return
    const at = this.#count * RECORD_BYTES
    if (at === this.#run.length) this.#grow()
    this.#run.writeDoubleLE(cloneInode, at)
    this.#run.writeDoubleLE(live.inode, at + 8)
    this.#run.writeBigInt64LE(isSettled ? changed : UNSETTLED, at + 16)
    this.#count += 1
    if (this.#count === RUN_RECORDS) this.#flush()
  }

  finish(): void {
    this.#flush()
  }

  #grow(): void {
    const larger = Buffer.allocUnsafeSlow(Math.min(2 * this.#run.length, RUN_RECORDS * RECORD_BYTES))
    this.#run.copy(larger)
    this.#run = larger
  }

  #flush(): void {
    const order = new BigUint64Array(this.#count)
    for (let record = 0; record < this.#count; record += 1)
      order[record] = (BigInt(this.#run.readDoubleLE(record * RECORD_BYTES)) << PLACE_BITS) | BigInt(record)
    order.sort()
    const page = Buffer.allocUnsafeSlow(PAGE_BYTES)
    let used = 0
    for (const key of order) {
      const from = Number(key & ((1n << PLACE_BITS) - 1n)) * RECORD_BYTES
      used += this.#run.copy(page, used, from, from + RECORD_BYTES)
      if (used === page.length) used = this.#write(page)
    }
    this.#write(page.subarray(0, used))
    this.#count = 0
  }

  #write(bytes: Buffer): 0 {
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.#fd, bytes, done, bytes.length - done, this.#position + done)
    this.#position += bytes.length
    return 0
  }
}

/** Says of which clone they are, and that it is complete: without this they are no stamps. @param root of the clone */
export function sealStamps(fd: number, root: Status, finishedMs: number): void {
  const header = Buffer.alloc(HEADER_BYTES)
  header.write(MAGIC, 0, 'latin1')
  header.writeDoubleLE(root.inode, 16)
  header.write(root.born, 24, BORN_BYTES, 'latin1')
  header.writeDoubleLE(finishedMs, 56)
  for (let done = 0; done < HEADER_BYTES; ) done += writeSync(fd, header, done, HEADER_BYTES - done, done)
}

/** Looks stamps up. Memory: 24 bytes a stamp, 24 MiB at the most, and 8 bytes for every 2,048 of them. */
export class StampTable {
  /** Nothing of the clone changed later, unless somebody wrote to it. */
  readonly finishedNanoseconds: bigint
  readonly #fd: number
  readonly #records: number
  /** The least number on each page. */
  readonly #firsts: Float64Array
  readonly #kept = new Map<number, Buffer>()

  /** @param fd stays open @param root of the clone @throws corrupt; conflict when they are another clone's */
  constructor(fd: number, root: Status) {
    this.#fd = fd
    const bytes = fstatSync(fd).size - HEADER_BYTES
    if (bytes < 0 || bytes % RECORD_BYTES !== 0) throw new FleetError('corrupt', 'the stamps of the image are damaged')
    const header = this.#read(0, HEADER_BYTES)
    if (header.toString('latin1', 0, MAGIC.length) !== MAGIC)
      throw new FleetError('corrupt', 'the stamps of the image are damaged')
    const born = header.toString('latin1', 24, 24 + BORN_BYTES).replace(/\0+$/, '')
    if (header.readDoubleLE(16) !== root.inode || born !== root.born.slice(0, BORN_BYTES))
      throw new FleetError('conflict', 'the stamps are not of this image')
    this.finishedNanoseconds = BigInt(Math.ceil(header.readDoubleLE(56))) * 1_000_000n
    this.#records = bytes / RECORD_BYTES
    this.#firsts = new Float64Array(Math.ceil(this.#records / PAGE_RECORDS))
    for (const page of this.#firsts.keys())
      this.#firsts[page] = this.#read(HEADER_BYTES + page * PAGE_BYTES, 8).readDoubleLE(0)
  }

  /** @param inode of the clone @returns the live file's number and ctime, the latter undefined when it was not settled */
  find(inode: number): { readonly inode: number; readonly changed: string | undefined } | undefined {
    const pagesInRun = RUN_RECORDS / PAGE_RECORDS
    for (let from = 0; from < this.#firsts.length; from += pagesInRun) {
      const page = lastNotAbove(
        from,
        Math.min(from + pagesInRun, this.#firsts.length),
        (at) => this.#firsts[at] ?? 0,
        inode,
      )
      const found = page < from ? undefined : this.#findIn(this.#page(page), inode)
      if (found !== undefined) return found
    }
    return undefined
  }

  #findIn(page: Buffer, inode: number) {
    const keyAt = (record: number) => page.readDoubleLE(record * RECORD_BYTES)
    const record = lastNotAbove(0, page.length / RECORD_BYTES, keyAt, inode)
    if (record < 0 || keyAt(record) !== inode) return undefined
    const at = record * RECORD_BYTES
    const changed = page.readBigInt64LE(at + 16)
    if (changed === UNSETTLED) return { inode: page.readDoubleLE(at + 8), changed: undefined }
    const nanoseconds = ((changed % NANOSECONDS) + NANOSECONDS) % NANOSECONDS
    const seconds = Number((changed - nanoseconds) / NANOSECONDS)
    return { inode: page.readDoubleLE(at + 8), changed: timeText(seconds, Number(nanoseconds)) }
  }

  #page(page: number): Buffer {
    const kept = this.#kept.get(page)
    if (kept !== undefined) return kept
    const start = page * PAGE_RECORDS
    const bytes = Math.min(PAGE_RECORDS, this.#records - start) * RECORD_BYTES
    const read = this.#read(HEADER_BYTES + start * RECORD_BYTES, bytes, this.#evicted(bytes))
    this.#kept.set(page, read)
    return read
  }

  /** Memory of the page that was read first is used again: none of it waits for a collector. */
  #evicted(bytes: number): Buffer {
    const [oldest] = this.#kept
    if (this.#kept.size < KEPT_PAGES || oldest === undefined) return Buffer.allocUnsafeSlow(bytes)
    const [page, memory] = oldest
    this.#kept.delete(page)
    return memory.length < bytes ? Buffer.allocUnsafeSlow(bytes) : memory.subarray(0, bytes)
  }

  #read(position: number, length: number, bytes: Buffer = Buffer.allocUnsafe(length)): Buffer {
    for (let done = 0; done < length; ) {
      const read = readSync(this.#fd, bytes, done, length - done, position + done)
      if (read === 0) throw new FleetError('corrupt', 'the stamps of the image are damaged')
      done += read
    }
    return bytes
  }
}

/** @returns the last place from `from` to before `to` whose key is not above; `from - 1` when there is none */
function lastNotAbove(from: number, to: number, keyAt: (at: number) => number, key: number): number {
  let [low, high] = [from - 1, to - 1]
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (keyAt(middle) <= key) low = middle
    else high = middle - 1
  }
  return low
}
