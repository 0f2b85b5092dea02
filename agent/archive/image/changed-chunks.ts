import { createHash } from 'node:crypto'
import { type Extent, extentsOf } from '../../native/fiemap.ts'
import { Status } from '../../native/status.ts'

/** More are no help, and take memory. */
export const MAX_CHANGED = 2 ** 24

export interface ImagePair {
  /** What the chain's last point was made of. */
  readonly baseFd: number
  readonly fd: number
  readonly chunkBytes: number
}

/**
 * Which chunks may differ between two images that nobody writes to, by the blocks that they share: what both have at one place of the
 * disk is the same. Both are files of one file system. What the file system says no address of, or not that it is shared, counts as changed.
 * @returns in order, with what lies behind the end of a smaller one; undefined where the file system does not tell, or one is no file
 */
export async function changedChunks({ baseFd, fd, chunkBytes }: ImagePair): Promise<Uint32Array | undefined> {
  const [base, now] = [new Status().readDescriptor(baseFd), new Status().readDescriptor(fd)]
  if (base.kind !== 'file' || now.kind !== 'file' || base.device !== now.device) return undefined
  const [basePages, pages] = [await extentsOf(baseFd), await extentsOf(fd)]
  if (basePages === undefined || pages === undefined) return undefined
  const runs = new RunDigest()
  const [older, newer] = [
    new ExtentCursor(heard(basePages, runs), base.sizeBytes),
    new ExtentCursor(pages, now.sizeBytes),
  ]
  const changed: number[] = []
  const limit = Math.max(base.sizeBytes, now.sizeBytes)
  for (let at = 0; at < limit; ) {
    const [was, is] = [await older.at(at), await newer.at(at)]
    const end = Math.min(was.end, is.end, limit)
    if (was.lies !== is.lies) mark(changed, Math.floor(at / chunkBytes), Math.floor((end - 1) / chunkBytes))
    if (changed.length > MAX_CHANGED) return undefined
    at = end
  }
  await older.finish()
  // Had the older one been moved meanwhile, another could have come to lie where it had been.
  const again = new RunDigest()
  for await (const _ of heard((await extentsOf(baseFd)) ?? none(), again)) void _
  if (again.finish() !== runs.finish()) return undefined
  return withEnds(changed, base.sizeBytes === now.sizeBytes ? [] : [base.sizeBytes, now.sizeBytes], chunkBytes)
}

/** A chunk in which an image ends is a shorter file than it is in a larger one, whatever it holds. */
export function withEnds(changed: readonly number[], ends: readonly number[], chunkBytes: number): Uint32Array {
  const short = ends.filter((end) => end % chunkBytes !== 0).map((end) => Math.floor(end / chunkBytes))
  if (short.length === 0) return Uint32Array.from(changed)
  return Uint32Array.from(new Set([...changed, ...short])).sort()
}

function mark(changed: number[], from: number, to: number): void {
  const first = Math.max(from, (changed.at(-1) ?? -1) + 1)
  for (let number = first; number <= to && changed.length <= MAX_CHANGED; number += 1) changed.push(number)
}

type Pages = AsyncGenerator<readonly Extent[]>

async function* heard(pages: Pages, runs: RunDigest): Pages {
  for await (const page of pages) {
    for (const extent of page) runs.add(extent)
    yield page
  }
}

async function* none(): Pages {}

/** Tells whether a file lies where it lay, however it is cut into extents: that changes with who shares them. */
class RunDigest {
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

/** Nothing lies there: it is zeros. */
const HOLE = 'hole'

interface Piece {
  /** By how much its place on the disk differs from that in the file; unlike anything where that says nothing. */
  readonly lies: number | typeof HOLE | symbol
  /** Where it ends, behind the place that was asked for. */
  readonly end: number
}

class ExtentCursor {
  readonly #pages: Pages
  readonly #sizeBytes: number
  #extents: readonly Extent[] = []
  #next = 0
  #isDone = false

  constructor(pages: Pages, sizeBytes: number) {
    this.#pages = pages
    this.#sizeBytes = sizeBytes
  }

  /** Places come in order from call to call. */
  async at(place: number): Promise<Piece> {
    if (place >= this.#sizeBytes) return { lies: HOLE, end: Number.POSITIVE_INFINITY }
    let extent = this.#extents[this.#next]
    while (!this.#isDone && (extent === undefined || extent.offset + extent.bytes <= place)) {
      if (extent === undefined) await this.#turn()
      else this.#next += 1
      extent = this.#extents[this.#next]
    }
    if (extent === undefined) return { lies: HOLE, end: this.#sizeBytes }
    if (place < extent.offset) return { lies: HOLE, end: Math.min(extent.offset, this.#sizeBytes) }
    const { at, isShared, offset } = extent
    const lies = at === undefined || !isShared ? Symbol('alone') : at - offset
    return { lies, end: Math.min(extent.offset + extent.bytes, this.#sizeBytes) }
  }

  /** Reads on to the end. */
  async finish(): Promise<void> {
    while (!this.#isDone) await this.#turn()
  }

  async #turn(): Promise<void> {
    const { done, value } = await this.#pages.next()
    this.#isDone = done === true
    this.#extents = done === true ? [] : value
    this.#next = 0
  }
}
