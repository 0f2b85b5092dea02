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
  readonly #cursor: ExtentCursor
  readonly #pages: ReturnType<typeof extentsNow>
  #isSame: boolean

  /** @param fd may be of any file at all @param snapshotFd in the snapshot; both stay open */
  constructor(fd: number, snapshotFd: number, sizeBytes: number) {
    this.#fd = fd
    this.#snapshotFd = snapshotFd
    this.#sizeBytes = sizeBytes
    this.#taken.readDescriptor(this.#snapshotFd)
    this.#cursor = new ExtentCursor(sizeBytes)
    this.#pages = extentsNow(snapshotFd)
    this.#isSame = this.#pages !== undefined
  }

  /** Whether it is worth a try. */
  get isSame(): boolean {
    return this.#isSame
  }

  /** Places come in order from call to call. @returns whether the room holds what the snapshot does there; if not, never again */
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
    const pages = extentsNow(this.#fd, start, end - start)
    const living = new ExtentCursor(this.#sizeBytes)
    for (let at = start; at < end; ) {
      while (this.#cursor.needs(at)) this.#cursor.feed(this.#pages?.next().value ?? undefined)
      while (living.needs(at)) living.feed(pages?.next().value ?? undefined)
      const compared = compareExtents(this.#cursor, living, at, end)
      if (compared.differs) return false
      at = compared.end
    }
    return true
  }
}
