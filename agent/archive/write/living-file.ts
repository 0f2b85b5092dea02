import { extentsNow } from '../../native/fiemap.ts'
import { Status } from '../../native/status.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import { compareExtents, ExtentCursor } from '../extent-cursor.ts'
import { readFully } from './read-file.ts'

/** What a file was when its snapshot was taken. */
export interface Taken {
  readonly sizeBytes: number
  /** ctime, as `timeText` writes it. */
  readonly changed: string
}

/**
 * A long file of a snapshot, read where it lives until somebody writes to it. Its time alone does not tell: a call that began before the snapshot may write for
 * long, and goes on behind it. So what was read must lie in the blocks that the snapshot has there, which are never written over; what is dirty is written out before it is asked for them.
 */
export class LivingFile {
  readonly #fd: number
  readonly #snapshotFd: number
  readonly #taken: Taken
  readonly #now = new Status()
  #isSame: boolean
  #isTried = false

  /** @param fd may be of anything at all @param snapshotFd in the snapshot; both stay open @param taken of the file that lived */
  constructor(fd: number, snapshotFd: number, taken: Taken) {
    this.#fd = fd
    this.#snapshotFd = snapshotFd
    this.#taken = taken
    this.#isSame = isSo(() => this.#isUntouched())
  }

  /** Whether it is worth a try. */
  get isSame(): boolean {
    return this.#isSame
  }

  /** @returns whether the room holds what the snapshot does there; if not, never again */
  read(room: Buffer, place: number): boolean {
    if (this.#isSame) this.#isSame = isSo(() => this.#isRead(room, place))
    return this.#isSame
  }

  #isRead(room: Buffer, place: number): boolean {
    const end = place + room.length
    // Blocks that tell nothing, as compressed ones, are not worth reading.
    if (!this.#isTried && !this.#liesAlike(place, end)) return false
    this.#isTried = true
    return (
      readFully(this.#fd, room, place).read === room.length &&
      // What is being written to is not asked for its blocks: all of it would be written out each time.
      this.#isUntouched() &&
      this.#liesAlike(place, end) &&
      // Nobody gave it back its blocks meanwhile.
      this.#isUntouched()
    )
  }

  #isUntouched(): boolean {
    const now = this.#now.readDescriptor(this.#fd)
    const { sizeBytes, changed } = this.#taken
    return now.kind === 'file' && now.sizeBytes === sizeBytes && now.changed === changed
  }

  #liesAlike(start: number, end: number): boolean {
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
    const cursor = new ExtentCursor(this.#taken.sizeBytes)
    const feed = (place: number) => {
      while (cursor.needs(place)) cursor.feed(pages.next().value ?? undefined)
    }
    return { cursor, feed }
  }
}

/** What cannot be asked where it lives is read in the snapshot. */
function isSo(ask: () => boolean): boolean {
  try {
    return ask()
  } catch (error) {
    if (errorCodeOf(error) === undefined) throw error
    return false
  }
}

interface FedCursor {
  readonly cursor: ExtentCursor
  /** Has it know of a place. */
  feed(place: number): void
}
