import { FleetError } from '../../../shared/errors.ts'
import type { Chain } from '../chain.ts'
import { TarBytes } from '../read/tar-bytes.ts'
import { type ImageShape, MAX_VOLUME_FILE_BYTES, parseShape, VOLUME } from './image-shape.ts'

/** Whether the point is one of a volume. */
export function isImage(chain: Chain): boolean {
  return chain.points.every(({ table }) => table.totals.image === true)
}

/** What the volume of a point is like. @throws conflict for a point of something else; corrupt */
export async function readShape(chain: Chain, signal: AbortSignal): Promise<ImageShape> {
  if (!isImage(chain)) throw new FleetError('conflict', 'the point is not one of a volume')
  const found = await chain.find(VOLUME, signal)
  const point = chain.points[found?.layer ?? -1]
  if (found === undefined || point === undefined) throw new FleetError('corrupt', 'the point holds no volume')
  const { type, storedSize, dataOffset, holes } = found.member
  if (type !== 'file' || holes || storedSize > MAX_VOLUME_FILE_BYTES)
    throw new FleetError('corrupt', 'the point does not tell what its volume is like')
  const bytes = await new TarBytes(point, signal).read(dataOffset, storedSize)
  return parseShape(bytes.toString('utf8'))
}
