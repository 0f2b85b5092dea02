import { createHash } from 'node:crypto'
import type { Extent } from '../native/fiemap.ts'

/** Nothing lies there: it is zeros. */
const HOLE = 'hole'

interface Piece {
  /** By how much its place on the disk differs from that in the file; unlike anything where that says nothing. */
  readonly lies: number | typeof HOLE | symbol
  /** Where it ends, behind the place that was asked for. */
  readonly end: number
  /** Whether its place on the disk says what it holds. */
  readonly isTold: boolean
}

/** Where the bytes of a file lie, from extents that come in pages. */
export class ExtentCursor {
  readonly #sizeBytes: number
  #extents: readonly Extent[] = []
  #next = 0
  #isDone = false

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes
  }

  /** Whether it must be fed before it can tell of a place. Places come in order from call to call. */
  needs(place: number): boolean {
    if (place >= this.#sizeBytes) return false
    while (this.#isBefore(place)) this.#next += 1
    return this.#next === this.#extents.length && !this.#isDone
  }

  /** @param page undefined: there is no more */
  feed(page: readonly Extent[] | undefined): void {
    this.#extents = page ?? []
    this.#next = 0
    this.#isDone = page === undefined
  }

  at(place: number): Piece {
    const hole = { lies: HOLE, isTold: true } as const
    if (place >= this.#sizeBytes) return { ...hole, end: Number.POSITIVE_INFINITY }
    const extent = this.#extents[this.#next]
    if (extent === undefined) return { ...hole, end: this.#sizeBytes }
    if (place < extent.offset) return { ...hole, end: Math.min(extent.offset, this.#sizeBytes) }
    const { at, isShared, offset } = extent
    const lies = at === undefined || !isShared ? Symbol('alone') : at - offset
    return { lies, isTold: at !== undefined, end: Math.min(extent.offset + extent.bytes, this.#sizeBytes) }
  }

  #isBefore(place: number): boolean {
    const extent = this.#extents[this.#next]
    return extent !== undefined && extent.offset + extent.bytes <= place
  }
}

/**
 * Whether two files may differ at a place, and where that may end. What both have at one place of the disk, marked as shared, is the same.
 * @param at neither cursor needs to be fed for it @returns `isTold`: not of both the file system says nothing there
 */
export function compareExtents(
  older: ExtentCursor,
  newer: ExtentCursor,
  at: number,
  limit: number,
): { readonly end: number; readonly differs: boolean; readonly isTold: boolean } {
  const [was, is] = [older.at(at), newer.at(at)]
  return { end: Math.min(was.end, is.end, limit), differs: was.lies !== is.lies, isTold: was.isTold || is.isTold }
}

/** Tells whether a file lies where it lay, however it is cut into extents: that changes with who shares them. */
export class RunDigest {
  readonly #hash = createHash('sha256')
  #offset = 0
  #end = 0
  #lies: number | undefined

  add({ offset, bytes, at }: Extent): void {
    const lies = at === undefined ? undefined : at - offset
    if (offset !== this.#end || lies !== this.#lies) {
      this.#flush()
      this.#offset = offset
      this.#lies = lies
    }
    this.#end = offset + bytes
  }

  finish(): string {
    this.#flush()
    return this.#hash.digest('hex')
  }

  #flush(): void {
    this.#hash.update(`${this.#offset} ${this.#end} ${this.#lies}\n`)
  }
}
