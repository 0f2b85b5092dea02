import { FleetError } from '../../../shared/errors.ts'
import type { Chain } from '../chain.ts'
import type { Extracted } from '../extract.ts'
import type { ArchiveWatch } from '../write-archive.ts'

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
  throw new FleetError('internal', 'not there yet', { detail: String([request, watch].length) })
}
