import { FleetError } from '../../../shared/errors.ts'
import type { Chain } from '../chain.ts'
import { type ImageShape, shapeText } from './image-shape.ts'
import { parseShape } from './shape-file.ts'

/** Whether the point is one of a volume. */
export function isImage(chain: Chain): boolean {
  return chain.points.every(({ table }) => table.totals.image !== undefined)
}

/**
 * What the volume of a point is like, as its table tells: of an encrypted point no more than that and the index may be kept here.
 * @throws conflict for a point of something else; corrupt
 */
export async function readShape(chain: Chain, _signal: AbortSignal): Promise<ImageShape> {
  const image = chain.points.at(-1)?.table.totals.image
  if (!isImage(chain) || image === undefined) throw new FleetError('conflict', 'the point is not one of a volume')
  if (chain.points.some(({ table }) => table.totals.image?.chunkBytes !== image.chunkBytes))
    throw new FleetError('corrupt', 'the points of the chain have chunks of different sizes')
  return parseShape(shapeText(image))
}
