import { promisify } from 'node:util'
import { constants, zstdCompress, zstdDecompress } from 'node:zlib'
import { FleetError } from '../../shared/errors.ts'

export type Compression = 'zstd' | 'none'

const compressAsync = promisify(zstdCompress)
const decompressAsync = promisify(zstdDecompress)
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
 * @throws corrupt
 */
export async function decompressFrame(bytes: Uint8Array, rawBytes: number): Promise<Buffer> {
  try {
    const raw = await decompressAsync(bytes, { chunkSize: Math.max(rawBytes, 64), maxOutputLength: rawBytes })
    if (raw.length === rawBytes) return raw
  } catch (cause) {
    throw new FleetError('corrupt', 'a frame cannot be decompressed', { cause })
  }
  throw new FleetError('corrupt', 'a frame is shorter than was recorded')
}
