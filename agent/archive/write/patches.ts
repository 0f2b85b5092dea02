import { cString } from '../../native/libc.ts'
import { close, tryOpenBeneath } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import type { BytePath } from '../byte-path.ts'
import { PATCHES_DIRECTORY } from '../member.ts'
import { changedRanges } from './changed-ranges.ts'
import type { Extent } from './hole-map.ts'
import type { PreviousEntry } from './previous-entries.ts'
import { READ_FILE } from './read-file.ts'

/** Of shorter files the whole is as good. */
const MIN_BYTES = 4 * 2 ** 20
/** What a restore writes over each other, at the most. */
const MAX_DEPTH = 64

/** What of a file is written in the place of all of it. */
export interface FilePatch {
  readonly ranges: readonly Extent[]
  /** How many patches lie over each other with this one. */
  readonly depth: number
  /** Hash of the member that it lies over. */
  readonly over: string
}

/** Decides of which files an increment holds what changed in them alone. One a thread. */
export class Patches {
  readonly #olderFd: number
  readonly #isFree: boolean
  readonly #older = new Status()

  /**
   * @param olderFd the root of what the chain's last point was made of: on the same file system, where both share blocks, and of files
   * that are known by their own numbers and times
   */
  constructor(rootFd: number, olderFd: number) {
    this.#olderFd = olderFd
    // What plain tar finds there has to be ours.
    this.#isFree = new Status().readName(rootFd, cString(PATCHES_DIRECTORY)) === undefined
  }

  /** @param entry what the chain holds of this path @returns undefined where all of it is to be written */
  of(path: BytePath, fd: number, status: Status, entry: PreviousEntry | undefined): FilePatch | undefined {
    if (!this.#isFree || entry?.hash === undefined || entry.flawed || !entry.isPlainFile) return undefined
    const [depth, over] = [1 + entry.patches, entry.hash]
    if (depth > MAX_DEPTH) return undefined
    if (status.links > 1 || Math.min(status.sizeBytes, entry.size) < MIN_BYTES) return undefined
    const olderFd = tryOpenBeneath(this.#olderFd, cString(Buffer.from(path, 'latin1')), READ_FILE)
    if (olderFd < 0) return undefined
    try {
      const older = this.#older.readDescriptor(olderFd)
      const isHeld = older.inode === entry.inode && older.changed === entry.ctime && older.sizeBytes === entry.size
      if (older.kind !== 'file' || !isHeld) return undefined
      const ranges = changedRanges({ olderFd, olderBytes: older.sizeBytes, fd, sizeBytes: status.sizeBytes })
      const bytes = ranges?.reduce((sum, { size }) => sum + size, 0) ?? Number.POSITIVE_INFINITY
      return ranges === undefined || 2 * bytes > status.allocatedBytes ? undefined : { ranges, depth, over }
    } finally {
      close(olderFd)
    }
  }
}
