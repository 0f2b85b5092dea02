import { closeSync, fsync, ftruncateSync } from 'node:fs'
import { promisify } from 'node:util'
import { FleetError } from '../../../shared/errors.ts'
import { Status } from '../../native/status.ts'
import { asFleetError } from '../../native/system-error.ts'
import type { Chain } from '../chain.ts'
import type { Extracted } from '../extract.ts'
import { ReadPlan } from '../read/read-plan.ts'
import { runReader } from '../run-reader.ts'
import { openUnlinked } from '../write/spool.ts'
import type { ArchiveWatch } from '../write-archive.ts'
import { blankDevice } from './blank-device.ts'
import { chunkMembers } from './chunk-members.ts'
import { type CompareImageRequest, compareImage } from './compare-image.ts'
import { type ImagePlace, placeOf } from './image-bytes.ts'
import { readShape } from './read-shape.ts'

const synced = promisify(fsync)

/** A file or device is open for reading and writing. Whatever it holds is gone afterwards. */
export type RestoreImageRequest = ImagePlace & {
  readonly subject: string
  readonly chain: Chain
  /** At least as large as the volume was, which it is without this: what is behind it is zeros. A block device or LUN keeps its own. */
  readonly sizeBytes?: number
  /** A directory for what is kept beside. Nothing stays in it. */
  readonly scratch: string
}

/**
 * Puts a point's image into a file, device or LUN: chunks at their places, each against its recorded hash, zeros everywhere else, and all of it
 * on disk when this settles; a LUN whose connection was lost meanwhile is read again and compared. A file is sparse. What is half written when it fails stays: it is a staged one.
 * @returns how many chunks, and their bytes
 * @throws conflict (no point of a volume; a size or device smaller than the volume); corrupt, naming the member; cancelled; no_space
 */
export async function restoreImage(request: RestoreImageRequest, watch: ArchiveWatch): Promise<Extracted> {
  const { subject, chain, scratch } = request
  const place = placeOf(request)
  const shape = await readShape(chain, watch.signal)
  try {
    await makeBlank(request, shape.sizeBytes, watch.signal)
    const linkSpillFd = openUnlinked(scratch)
    try {
      const { files, bytes, isDoubtful } = await runReader(
        { subject, mode: 'image', place, shape },
        async (send, signal) => {
          const options = { sequential: true, tolerant: false, asStored: false, linkSpillFd }
          const plan = new ReadPlan(chain, send, signal, options)
          for await (const found of chunkMembers(chain, shape, signal)) await plan.add(found, found.member.path)
          await plan.flush()
        },
        watch,
      )
      if (request.fd !== undefined) await synced(request.fd)
      if (isDoubtful) await requireSame({ subject, chain, ...place }, watch)
      return { files, bytes }
    } finally {
      closeSync(linkSpillFd)
    }
  } catch (error) {
    throw asFleetError(error, subject)
  }
}

/** @throws unavailable */
async function requireSame(request: CompareImageRequest, watch: ArchiveWatch): Promise<void> {
  const { count } = await compareImage(request, watch)
  if (count > 0)
    throw new FleetError(
      'unavailable',
      `${request.subject}: the target lost some of what it was given before it went away`,
    )
}

async function makeBlank(
  { subject, fd, lun, sizeBytes = lun?.sizeBytes }: RestoreImageRequest,
  leastBytes: number,
  signal: AbortSignal,
): Promise<void> {
  if (sizeBytes !== undefined && sizeBytes < leastBytes)
    throw new FleetError(
      'conflict',
      `${subject}: the volume has ${leastBytes} bytes and does not fit into ${sizeBytes}`,
    )
  if (fd === undefined) return
  const { kind } = new Status().readDescriptor(fd)
  if (kind === 'block') return blankDevice({ subject, fd, leastBytes }, signal)
  if (kind !== 'file') throw new FleetError('invalid', `${subject}: this is no place for an image`)
  ftruncateSync(fd, 0)
  ftruncateSync(fd, sizeBytes ?? leastBytes)
}
