import { type CString, cString } from '../../native/libc.ts'
import { close, tryOpenBeneath } from '../../native/paths.ts'
import { LARGE_BYTES } from '../../native/reflink.ts'
import { Status } from '../../native/status.ts'
import { readNote } from '../../native/xattrs.ts'
import type { BytePath } from '../byte-path.ts'
import { CLONE_NOTE, heldText, MAX_PATH_BYTES } from '../large-file.ts'
import { PATCHES_DIRECTORY } from '../member.ts'
import type { OlderFiles } from '../write-archive.ts'
import { changedRanges } from './changed-ranges.ts'
import type { Extent } from './hole-map.ts'
import { settledTime } from './identity.ts'
import type { PreviousEntry } from './previous-entries.ts'
import { READ_FILE } from './read-file.ts'

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
  readonly #olderFiles: OlderFiles
  readonly #isFree: boolean
  readonly #older = new Status()

  constructor(rootFd: number, older: OlderFiles) {
    this.#olderFiles = older
    // What plain tar finds there has to be ours.
    this.#isFree = new Status().readName(rootFd, cString(PATCHES_DIRECTORY)) === undefined
  }

  /** @param entry what the chain holds of this path @returns undefined where all of it is to be written */
  of(path: BytePath, fd: number, status: Status, entry: PreviousEntry | undefined): FilePatch | undefined {
    if (!this.#isFree || entry?.hash === undefined || entry.hasProblem || !entry.isPlainFile) return undefined
    const [depth, over] = [1 + entry.patches, entry.hash]
    if (depth > MAX_DEPTH || status.links > 1 || path.length > MAX_PATH_BYTES) return undefined
    if (Math.min(status.sizeBytes, entry.size) < LARGE_BYTES) return undefined
    const ranges = this.#changed(path, fd, status, { entry, trusts: false })
    const bytes = ranges?.reduce((sum, { size }) => sum + size, 0) ?? Number.POSITIVE_INFINITY
    return ranges === undefined || 2 * bytes > status.allocatedBytes ? undefined : { ranges, depth, over }
  }

  /**
   * Whether a file was written to although its times say nothing of it: a snapshot of btrfs may have a write's time of change and not yet its
   * data, which come with the next. Of short files with one name the index has no time then (`takenIdentity`); of
   * clones it has none of any that may have been written to.
   * @param isListed the file system named it as changed
   */
  isWritten(place: PatchPlace, status: Status, entry: PreviousEntry | undefined, isListed: boolean): boolean {
    if (this.#olderFiles.by === 'number' || status.kind !== 'file' || entry === undefined) return false
    if (status.sizeBytes < LARGE_BYTES && (status.links === 1 || !isListed)) return false
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
    const { by, fd: directoryFd } = this.#olderFiles
    const name = by === 'path' ? Buffer.from(path, 'latin1') : String(entry.inode)
    const olderFd = tryOpenBeneath(directoryFd, cString(name), READ_FILE)
    if (olderFd < 0) return undefined
    try {
      const older = this.#older.readDescriptor(olderFd)
      if (older.kind !== 'file' || older.sizeBytes !== entry.size || !this.#holds(olderFd, entry)) return undefined
      return changedRanges({ olderFd, olderBytes: older.sizeBytes, fd, sizeBytes, trusts })
    } finally {
      close(olderFd)
    }
  }

  /** Whether the older file, whose status was read, is what the chain holds. */
  #holds(olderFd: number, { path, inode, ctime, size }: PreviousEntry): boolean {
    const [files, older] = [this.#olderFiles, this.#older]
    if (files.by === 'path') return older.inode === inode && older.changed === settledTime(ctime)
    if (older.links !== 1 || older.changedMs > files.untilMs) return false
    return readNote(olderFd, CLONE_NOTE) === heldText({ path, inode, changed: ctime, sizeBytes: size })
  }
}
