import { FleetError } from '../../../shared/errors.ts'
import type { Chain } from '../chain.ts'
import { changedLines } from '../changed-lines.ts'
import { wantedOf } from '../wanted.ts'
import { chunkPath, type ImageShape, VOLUME } from './image-shape.ts'
import { readShape } from './read-shape.ts'

/** Of more chunks that are looked at, all of the chain's index is read. */
const MAX_SOUGHT = 2 ** 16

interface LookedImage extends ImageShape {
  readonly only?: Uint32Array | undefined
}

/**
 * What of the chain's merged index an image is compared with, and which of its chunks are looked at: all, while the last point has
 * problems, as those are tried again.
 * @throws conflict when the chain is of something else; invalid for other chunks than its, or ones out of order
 */
export async function imageLines(
  { chunkBytes, only }: LookedImage,
  chain: Chain | undefined,
  signal: AbortSignal,
): Promise<{ readonly lines: AsyncIterable<Uint8Array> | undefined; readonly only: Uint32Array | undefined }> {
  if (chain === undefined) return { lines: undefined, only: undefined }
  if ((await readShape(chain, signal)).chunkBytes !== chunkBytes)
    throw new FleetError('invalid', 'an increment has chunks of the size that its chain has')
  if (only === undefined || chain.points.at(-1)?.table.totals.problems !== 0)
    return { lines: chain.lines(signal), only: undefined }
  if (only.some((number, at) => at > 0 && number <= (only[at - 1] ?? 0)))
    throw new FleetError('invalid', 'the chunks to look at are not in order')
  if (only.length > MAX_SOUGHT) return { lines: chain.lines(signal), only }
  const sought = [...Array.from(only, chunkPath), VOLUME]
  const wanted = wantedOf(sought.map((path) => ({ path, subtree: false })))
  return { lines: changedLines(chain, wanted, signal), only }
}
