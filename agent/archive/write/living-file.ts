import { extentsNow } from '../../native/fiemap.ts'
import { Status } from '../../native/status.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { compareExtents, ExtentCursor } from '../extent-cursor.ts'
import { readFully } from './read-file.ts'

/**
 * A long file of a snapshot, read where it lives, as far as it lies there in the same blocks. Those of a snapshot are never written over, and what was written
 * to the living file and is not on the disk yet goes there before it is asked for: so what was read of it before is what the snapshot holds.
 */
export class LivingFile {
  readonly #fd: number
  readonly #snapshotFd: number
  readonly #sizeBytes: number
  readonly #taken = new Status()
  readonly #now = new Status()
  #isSame = true

  /** @param fd may be of any file at all @param snapshotFd in the snapshot; both stay open */
  constructor(fd: number, snapshotFd: number, sizeBytes: number) {
    this.#fd = fd
    this.#snapshotFd = snapshotFd
    this.#sizeBytes = sizeBytes
    this.#taken.readDescriptor(snapshotFd)
  }

  /** Whether it is worth a try. */
  get isSame(): boolean {
    return this.#isSame
  }

  /** @returns whether the room holds what the snapshot does there; if not, never again */
  read(room: Buffer, place: number): boolean {
    if (!this.#isSame) return false
    try {
      this.#isSame =
        readFully(this.#fd, room, place).read === room.length && this.#liesAlike(place, place + room.length)
    } catch (error) {
      if (errorCodeOf(error) === undefined) throw error
      this.#isSame = false
    }
    return this.#isSame
  }

  #liesAlike(start: number, end: number): boolean {
    // What somebody writes to now is not asked for its blocks: it would have to be written out each time.
    if (!this.#now.readDescriptor(this.#fd).hasSameContentAs(this.#taken)) return false
    // In this order, and not asked for long before: a balance may move both.
    const [living, taken] = [this.#map(this.#fd, start, end), this.#map(this.#snapshotFd, start, end)]
    if (living === undefined || taken === undefined) return false
    for (let at = start; at < end; ) {
      living.feed(at)
      taken.feed(at)
      const compared = compareExtents(taken.cursor, living.cursor, at, end)
      if (compared.differs) return false
      at = compared.end
    }
    return true
  }

  #map(fd: number, start: number, end: number): FedCursor | undefined {
    const pages = extentsNow(fd, start, end - start)
    if (pages === undefined) return undefined
    const cursor = new ExtentCursor(this.#sizeBytes)
    const feed = (place: number) => {
      while (cursor.needs(place)) cursor.feed(pages.next().value ?? undefined)
    }
    return { cursor, feed }
  }
}

interface FedCursor {
  readonly cursor: ExtentCursor
  /** Has it know of a place. */
  feed(place: number): void
}
