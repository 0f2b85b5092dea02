import { type CString, cString } from '../../native/libc.ts'
import { close, tryOpenBeneath } from '../../native/paths.ts'
import { Status } from '../../native/status.ts'
import type { BytePath } from '../byte-path.ts'
import { PATCHES_DIRECTORY } from '../member.ts'
import { changedRanges } from './changed-ranges.ts'
import type { Extent } from './hole-map.ts'
import { settledTime } from './identity.ts'
import type { PreviousEntry } from './previous-entries.ts'
import { READ_FILE } from './read-file.ts'

/** Of shorter files the whole is as good. */
const MIN_BYTES = 4 * 2 ** 20
/** What a symbolic link takes, behind `../`. */
const MAX_PATH_BYTES = 4_092
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

/** A name of a file, and where it stands. */
export interface PatchPlace {
  readonly path: BytePath
  readonly directoryFd: number
  readonly name: CString
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
    if (!this.#isFree || entry?.hash === undefined || entry.hasProblem || !entry.isPlainFile) return undefined
    const [depth, over] = [1 + entry.patches, entry.hash]
    if (depth > MAX_DEPTH || status.links > 1 || path.length > MAX_PATH_BYTES) return undefined
    if (Math.min(status.sizeBytes, entry.size) < MIN_BYTES) return undefined
    const ranges = this.#changed(path, fd, status, { entry, trusts: false })
    const bytes = ranges?.reduce((sum, { size }) => sum + size, 0) ?? Number.POSITIVE_INFINITY
    return ranges === undefined || 2 * bytes > status.allocatedBytes ? undefined : { ranges, depth, over }
  }

  /**
   * Whether a file was written to although its times say nothing of it: a snapshot of btrfs may have a write's time of change and not yet its
   * data, which come with the next. Of short files with one name the index has no time then (`takenIdentity`).
   * @param isListed the file system named it as changed
   */
  isWritten(place: PatchPlace, status: Status, entry: PreviousEntry | undefined, isListed: boolean): boolean {
    if (status.kind !== 'file' || entry === undefined) return false
    if (status.sizeBytes < MIN_BYTES && (status.links === 1 || !isListed)) return false
    const fd = tryOpenBeneath(place.directoryFd, place.name, READ_FILE)
    if (fd < 0) return false
    try {
      const ranges = this.#changed(place.path, fd, status, { entry, trusts: !isListed })
      return ranges === undefined ? isListed : ranges.length > 0
    } finally {
      close(fd)
    }
  }

  /** @returns undefined where it cannot be told */
  #changed(
    path: BytePath,
    fd: number,
    { sizeBytes }: Status,
    { entry, trusts }: { readonly entry: PreviousEntry; readonly trusts: boolean },
  ): readonly Extent[] | undefined {
    const olderFd = tryOpenBeneath(this.#olderFd, cString(Buffer.from(path, 'latin1')), READ_FILE)
    if (olderFd < 0) return undefined
    try {
      const older = this.#older.readDescriptor(olderFd)
      const isHeld =
        older.inode === entry.inode && older.changed === settledTime(entry.ctime) && older.sizeBytes === entry.size
      if (older.kind !== 'file' || !isHeld) return undefined
      return changedRanges({ olderFd, olderBytes: older.sizeBytes, fd, sizeBytes, trusts })
    } finally {
      close(olderFd)
    }
  }
}
