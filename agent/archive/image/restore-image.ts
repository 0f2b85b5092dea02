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
import { readShape } from './read-shape.ts'

const synced = promisify(fsync)

export interface RestoreImageRequest {
  readonly subject: string
  readonly chain: Chain
  /** Of a file or a block device, open for reading and writing; stays open. Whatever it holds is gone afterwards. */
  readonly fd: number
  /** At least as large as the volume was, which it is without this: what is behind it is zeros. A block device keeps its own. */
  readonly sizeBytes?: number
  /** A directory for what is kept beside. Nothing stays in it. */
  readonly scratch: string
}

/**
 * Puts a point's image into a file or device: chunks at their places, each against its recorded hash, zeros everywhere else, and all of it on
 * disk when this settles. A file is sparse. What is half written when it fails stays: it is a staged one.
 * @returns how many chunks, and their bytes
 * @throws conflict (no point of a volume; a size or device smaller than the volume); corrupt, naming the member; cancelled; no_space
 */
export async function restoreImage(request: RestoreImageRequest, watch: ArchiveWatch): Promise<Extracted> {
  const { subject, chain, fd, scratch } = request
  const shape = await readShape(chain, watch.signal)
  try {
    await makeBlank(request, shape.sizeBytes, watch.signal)
    const linkSpillFd = openUnlinked(scratch)
    try {
      const { files, bytes } = await runReader(
        { subject, mode: 'image', fd, shape },
        async (send, signal) => {
          const options = { sequential: true, tolerant: false, asStored: false, linkSpillFd }
          const plan = new ReadPlan(chain, send, signal, options)
          for await (const found of chunkMembers(chain, shape, signal)) await plan.add(found, found.member.path)
          await plan.flush()
        },
        watch,
      )
      await synced(fd)
      return { files, bytes }
    } finally {
      closeSync(linkSpillFd)
    }
  } catch (error) {
    throw asFleetError(error, subject)
  }
}

async function makeBlank(
  { subject, fd, sizeBytes }: RestoreImageRequest,
  leastBytes: number,
  signal: AbortSignal,
): Promise<void> {
  const { kind } = new Status().readDescriptor(fd)
  if (sizeBytes !== undefined && sizeBytes < leastBytes)
    throw new FleetError(
      'conflict',
      `${subject}: the volume has ${leastBytes} bytes and does not fit into ${sizeBytes}`,
    )
  if (kind === 'block') return blankDevice({ subject, fd, leastBytes }, signal)
  if (kind !== 'file') throw new FleetError('invalid', `${subject}: this is no place for an image`)
  ftruncateSync(fd, 0)
  ftruncateSync(fd, sizeBytes ?? leastBytes)
}
