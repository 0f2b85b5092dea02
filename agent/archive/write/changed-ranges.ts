import { extentsNow } from '../../native/fiemap.ts'
import { compareExtents, ExtentCursor, RunDigest } from '../extent-cursor.ts'
import type { Extent } from './hole-map.ts'

/** What ranges begin and end at, but for the end of a file: no file system that shares blocks has smaller ones. */
export const RANGE_UNIT = 4_096
/** Nearer ones become one. */
const GAP_BYTES = 2 ** 15
/** As in a hole map: more take more memory than they are worth. */
const MAX_RANGES = 65_536

export interface FilePair {
  /** What the chain holds, which nobody writes to. */
  readonly olderFd: number
  readonly olderBytes: number
  readonly fd: number
  readonly sizeBytes: number
  /** What nobody can tell of (compressed, inline) counts as the same. */
  readonly trusts?: boolean
}

/**
 * Where a file may differ from an older one, by the blocks that they share. Outside of these ranges it is the same as far as the older one
 * reaches, and zeros behind.
 * @returns in order; undefined where the file system does not tell, or there are too many
 */
export function changedRanges({
  olderFd,
  olderBytes,
  fd,
  sizeBytes,
  trusts = false,
}: FilePair): readonly Extent[] | undefined {
  const [olderPages, pages] = [extentsNow(olderFd), extentsNow(fd)]
  if (olderPages === undefined || pages === undefined) return undefined
  const [older, newer] = [new ExtentCursor(olderBytes), new ExtentCursor(sizeBytes)]
  const ranges = new RangeList(sizeBytes)
  const runs = new RunDigest()
  const heard = heardBy(runs, olderPages)
  const end = Math.min(olderBytes, sizeBytes)
  for (let at = 0; at < sizeBytes && !ranges.isFull; ) {
    while (older.needs(at)) older.feed(heard.next().value ?? undefined)
    while (newer.needs(at)) newer.feed(pages.next().value ?? undefined)
    const compared = compareExtents(older, newer, at, sizeBytes)
    if (compared.differs && (compared.isTold || !trusts)) ranges.add(at, compared.end)
    // What lies in the block in which the shorter one ends is for the longer one alone.
    else if (olderBytes !== sizeBytes && at < end && compared.end >= end)
      ranges.add(end - 1, Math.min(end + 1, sizeBytes))
    at = compared.end
  }
  for (const _ of heard) void _
  // Had the older one been moved meanwhile, another could have come to lie where it had been.
  const again = new RunDigest()
  for (const _ of heardBy(again, extentsNow(olderFd) ?? [])) void _
  return again.finish() === runs.finish() && !ranges.isFull ? ranges.all : undefined
}

function* heardBy(runs: RunDigest, pages: ReturnType<typeof extentsNow> | []) {
  for (const page of pages ?? []) {
    for (const extent of page) runs.add(extent)
    yield page
  }
}

class RangeList {
  readonly #sizeBytes: number
  readonly #ranges: { offset: number; size: number }[] = []

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes
  }

  get all(): readonly Extent[] {
    return this.#ranges
  }

  get isFull(): boolean {
    return this.#ranges.length >= MAX_RANGES
  }

  add(from: number, to: number): void {
    const start = from - (from % RANGE_UNIT)
    const end = Math.min(Math.ceil(to / RANGE_UNIT) * RANGE_UNIT, this.#sizeBytes)
    const last = this.#ranges.at(-1)
    if (last !== undefined && start - (last.offset + last.size) <= GAP_BYTES)
      last.size = Math.max(last.size, end - last.offset)
    else this.#ranges.push({ offset: start, size: end - start })
  }
}
