import { type Extent, extentsOf } from '../../native/fiemap.ts'
import { Status } from '../../native/status.ts'
import { compareExtents, ExtentCursor, RunDigest } from '../extent-cursor.ts'

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
  const heardPages = heard(basePages, runs)
  const [older, newer] = [new ExtentCursor(base.sizeBytes), new ExtentCursor(now.sizeBytes)]
  const changed: number[] = []
  const limit = Math.max(base.sizeBytes, now.sizeBytes)
  for (let at = 0; at < limit; ) {
    while (older.needs(at)) older.feed((await heardPages.next()).value ?? undefined)
    while (newer.needs(at)) newer.feed((await pages.next()).value ?? undefined)
    const { end, differs } = compareExtents(older, newer, at, limit)
    if (differs) mark(changed, Math.floor(at / chunkBytes), Math.floor((end - 1) / chunkBytes))
    if (changed.length > MAX_CHANGED) return undefined
    at = end
  }
  for await (const _ of heardPages) void _
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
