import { InodeItems } from '../../native/btrfs-inodes.ts'
import { Status } from '../../native/status.ts'
import type { AttributeRecords } from './attribute-records.ts'
import { isSettled, settledTime } from './identity.ts'
import { LivingFile } from './living-file.ts'
import { readFully } from './read-file.ts'
import type { Realms } from './realms.ts'
import { inodeOf, isFile, type Level } from './tree-levels.ts'

/** Longer ones are not read whole before it is known whether they are the same: see `LivingFile`. */
const MAX_BYTES = 2 ** 20
/** Of a directory's files looked up at once: at first, as a walk may leave it again, and at the most. */
const FIRST_BATCH = 16
const MOST_BATCH = 4_096
const NO_RECORDS: readonly Buffer[] = []

/** Of a file in a snapshot; valid until the next is read. */
export interface LiveContent {
  readonly bytes: Buffer
  /** Its extended attributes. */
  readonly records: readonly Buffer[]
}

interface Opened {
  /** Of what lives under its name, if anything does. */
  readonly fd: number
  readonly snapshotFd: number
}

/**
 * Reads files of a snapshot where they live: short ones whole, long ones piece by piece (`LivingFile`). A snapshot of btrfs that was just taken has nothing in memory but its tree: each of its inodes would be
 * made anew and each content come from the disk, while what lives is often there already. A file that has the number, the time of change and the size of the
 * one in the snapshot, after it was read, has not been written to since that time, which lies before the snapshot: then it is the same, and else it is read there.
 * Of clones long files alone are read that way: XFS can swap the contents of two files and leave their times, and blocks tell.
 */
export class LiveFiles {
  readonly #realms: Realms
  readonly #attributes: AttributeRecords
  readonly #inodes = new InodeItems(MOST_BATCH)
  readonly #content = Buffer.allocUnsafeSlow(MAX_BYTES)
  readonly #after = new Status()
  /** The directory whose files were looked up last, up to which of its names, and how many at once. */
  #level: Level | undefined
  #end = 0
  #batch = FIRST_BATCH

  constructor(realms: Realms, attributes: AttributeRecords) {
    this.#realms = realms
    this.#attributes = attributes
  }

  /** Whether short files of this directory are read where they live. */
  readsShort(level: Level): boolean {
    return level.liveFd >= 0 && this.#realms.liveOf(level.realm)?.settledBeforeMs !== undefined
  }

  /**
   * Where every file of a directory is read.
   * @param fd of the living file under the name that the level is at @param status becomes that of the file in the snapshot
   * @returns undefined where it is to be read in the snapshot @throws SystemError
   */
  next(level: Level, fd: number, status: Status): LiveContent | undefined {
    const hasAttributes = this.look(level, status)
    return hasAttributes === undefined ? undefined : this.read(level, fd, status, hasAttributes)
  }

  /**
   * Where every name of a directory is looked at, that of a file: without having the kernel make an inode of the snapshot's.
   * @param status becomes that of the file in the snapshot, but for its times of access and birth and the device
   * @returns whether it has extended attributes; undefined where nothing is known of it @throws SystemError
   */
  look(level: Level, status: Status): boolean | undefined {
    if (!this.readsShort(level)) return undefined
    this.#lookUp(level)
    return this.#inodes.read(inodeOf(level.names[level.next - 1] ?? ''), status)
  }

  /** @param status of the file in the snapshot, by whatever name @returns undefined where it is to be read there @throws SystemError */
  read(level: Level, fd: number, status: Status, hasAttributes = true): LiveContent | undefined {
    if (!this.mayHold(level, status)) return undefined
    const records = hasAttributes ? this.#attributes.ofDescriptor(fd) : NO_RECORDS
    const bytes = this.#content.subarray(0, status.sizeBytes)
    if (readFully(fd, bytes, 0).read < bytes.length) return undefined
    // Behind all that was read of it.
    const after = this.#after.readDescriptor(fd)
    return after.inode === status.inode && after.hasSameContentAs(status) ? { bytes, records } : undefined
  }

  /** Where short files are read where they live: whether there is anything to open. @param status of a file in the snapshot */
  mayLive(level: Level, status: Status): boolean {
    return this.readsShort(level) && (isLong(status) || this.mayHold(level, status))
  }

  /** Whether it is worth a look. Of files with several names most are in the archive already. @param status of a file in the snapshot */
  mayHold(level: Level, status: Status): boolean {
    const settledBeforeMs = this.#realms.liveOf(level.realm)?.settledBeforeMs
    if (settledBeforeMs === undefined || level.liveFd < 0 || status.kind !== 'file' || status.links > 1) return false
    const isPlain = status.sizeBytes <= MAX_BYTES && status.allocatedBytes >= status.sizeBytes
    return isPlain && status.changedMs < settledBeforeMs
  }

  /** Where they are not: whether there is anything to open once the file in the snapshot is open, for `follow`. */
  mayFollow(level: Level, status: Status): boolean {
    return level.liveFd >= 0 && !this.readsShort(level) && isLong(status)
  }

  /** @param status of a long file in the snapshot, or of another one @returns undefined where it is to be read there; both descriptors stay open */
  follow(level: Level, { fd, snapshotFd }: Opened, status: Status): LivingFile | undefined {
    if (fd < 0 || !isLong(status)) return undefined
    const { changed } = this.#realms.identify(status)
    // Of a clone that says nothing of the file that lived.
    if (!isSettled(changed) && !this.readsShort(level)) return undefined
    return new LivingFile(fd, snapshotFd, { sizeBytes: status.sizeBytes, changed: settledTime(changed) })
  }

  /** Those that the walk comes to next in this directory, where the one that it is at is not known yet. */
  #lookUp(level: Level): void {
    if (this.#level === level && level.next <= this.#end) return
    this.#batch = this.#level === level ? Math.min(2 * this.#batch, MOST_BATCH) : FIRST_BATCH
    this.#level = level
    const start = level.next - 1
    const files = level.names.slice(start, start + this.#batch).filter(isFile)
    this.#end = start + this.#batch
    this.#inodes.load(level.fd, Float64Array.from(files, inodeOf).sort())
  }
}

function isLong(status: Status): boolean {
  return status.kind === 'file' && status.sizeBytes > MAX_BYTES
}
