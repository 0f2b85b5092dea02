import { FleetError } from '../../../shared/errors.ts'
import { Status } from '../../native/status.ts'
import { displayPath } from '../byte-path.ts'
import type { Chain } from '../chain.ts'
import type { ReadItem } from '../read/read-worker.ts'
import { runReader } from '../run-reader.ts'
import type { ArchiveWatch } from '../write-archive.ts'
import { chunkMembers } from './chunk-members.ts'
import type { ImagePlace } from './image-bytes.ts'
import { VOLUME } from './image-shape.ts'
import { readShape } from './read-shape.ts'

const ITEMS_AT_ONCE = 256
const MAX_TOLD = 100

/** A file or device is open for reading. */
export type CompareImageRequest = ImagePlace & {
  readonly subject: string
  readonly chain: Chain
}

export interface ImageDifferences {
  readonly count: number
  /** Chunks' paths in the archive: the first hundred, for people. */
  readonly paths: readonly string[]
}

/**
 * Reads an image again, whole, and compares it with what a point's index says of it: chunks by their hashes, zeros everywhere else, and
 * that a file is no shorter. Reads of the point its index alone.
 * @throws conflict for a point of something else; corrupt for an index that makes no sense; cancelled
 */
export async function compareImage(
  { subject, chain, ...at }: CompareImageRequest,
  watch: ArchiveWatch,
): Promise<ImageDifferences> {
  const shape = await readShape(chain, watch.signal)
  const isOfSize = sizeOf(at, subject) >= shape.sizeBytes
  const done = await runReader(
    { subject, mode: 'compare', place: at, shape },
    async (send, signal) => {
      let items: ReadItem[] = []
      for await (const { member, layer } of chunkMembers(chain, shape, signal)) {
        const { path, hash, offset } = member
        items.push({ path, hash, layer, offset, storedName: path, storedType: 'file', linkTo: undefined })
        if (items.length < ITEMS_AT_ONCE) continue
        await send({ kind: 'items', items })
        items = []
      }
      await send({ kind: 'items', items })
    },
    watch,
  )
  const paths = done.damaged.slice(0, MAX_TOLD).map(displayPath)
  if (isOfSize) return { count: done.damagedCount, paths }
  return { count: done.damagedCount + 1, paths: [VOLUME, ...paths].slice(0, MAX_TOLD) }
}

/** A device has what it has. */
function sizeOf({ fd, lun }: ImagePlace, subject: string): number {
  if (fd === undefined) return lun.sizeBytes
  const { kind, sizeBytes } = new Status().readDescriptor(fd)
  if (kind !== 'file' && kind !== 'block') throw new FleetError('invalid', `${subject}: this is no image`)
  return kind === 'block' ? Number.POSITIVE_INFINITY : sizeBytes
}
