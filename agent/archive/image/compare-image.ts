import { FleetError } from '../../../shared/errors.ts'
import type { Chain } from '../chain.ts'
import type { ArchiveWatch } from '../write-archive.ts'

export interface CompareImageRequest {
  readonly subject: string
  readonly chain: Chain
  /** Of a file or a block device, open for reading; stays open. */
  readonly fd: number
}

export interface ImageDifferences {
  readonly count: number
  /** Chunks' paths in the archive: the first hundred, for people. */
  readonly paths: readonly string[]
}

/**
 * Reads an image again, whole, and compares it with what a point's index says of it: chunks by their hashes, zeros everywhere else, and
 * that a file is no shorter. Reads of the point its index alone.
 */
export async function compareImage(request: CompareImageRequest, watch: ArchiveWatch): Promise<ImageDifferences> {
  throw new FleetError('internal', 'not there yet', { detail: String([request, watch].length) })
}
