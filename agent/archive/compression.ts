import { promisify } from 'node:util'
import { constants, zstdCompress, zstdDecompress } from 'node:zlib'
import { FleetError } from '../../shared/errors.ts'

export type Compression = 'zstd' | 'none'

const compressAsync = promisify(zstdCompress)
const decompressAsync = promisify(zstdDecompress)
const DEFAULT_LEVEL = 3

/** ZSTD_compressBound for what is larger than 128 KiB, and room to spare for the frame's own header and checksum. */
function boundOf(bytes: number): number {
  return bytes + (bytes >> 8) + 1_024
}

/** One frame that stands by itself and says its size, on a thread of libuv's pool. */
export async function compressFrame(bytes: Uint8Array, level = DEFAULT_LEVEL): Promise<Buffer> {
  return compressAsync(bytes, {
    // One piece of output is one round through the pool.
    chunkSize: boundOf(bytes.length),
    pledgedSrcSize: bytes.length,
    params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 },
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
