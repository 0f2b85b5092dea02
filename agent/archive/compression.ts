import { promisify } from 'node:util'
import { constants, zstdCompress } from 'node:zlib'
import { FleetError } from '../../shared/errors.ts'
import { release } from '../native/release.ts'
import { decompressWhole } from '../native/zstd.ts'

export type Compression = 'zstd' | 'none'

const compressAsync = promisify(zstdCompress)
const DEFAULT_LEVEL = 3

/** Of output: as much as most frames need, a round through the pool each, and little to be thrown away. */
const PIECE_BYTES = 2 ** 19

/** One frame that stands by itself and says its size: for the index and other small things. */
export async function compressFrame(bytes: Uint8Array): Promise<Buffer> {
  return compressAsync(bytes, {
    chunkSize: PIECE_BYTES,
    pledgedSrcSize: bytes.length,
    params: { [constants.ZSTD_c_compressionLevel]: DEFAULT_LEVEL, [constants.ZSTD_c_checksumFlag]: 1 },
  })
}

/**
 * The other way, never more than was declared: a frame that claims to be small cannot fill the memory.
 * @param bytes released afterwards @throws corrupt
 */
export async function decompressFrame(bytes: Uint8Array, rawBytes: number): Promise<Buffer> {
  const raw = await decompressWhole(bytes, rawBytes)
  release(bytes)
  if (raw === undefined) throw new FleetError('corrupt', 'a frame cannot be decompressed')
  return raw
}
