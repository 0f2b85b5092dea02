import { Readable } from 'node:stream'
import { createZstdDecompress } from 'node:zlib'
import { FleetError } from '../../shared/errors.ts'
import type { Compression } from './compression.ts'
import type { BuildPolicy } from './read/tree-builder.ts'
import { type ReadDone, runReader } from './run-reader.ts'
import type { ArchiveWatch } from './write-archive.ts'

export interface ExtractTarRequest {
  readonly subject: string
  /** A tar of anybody's: GNU tar, bsdtar, ours without its index. Pieces of up to some megabytes. */
  readonly source: AsyncIterable<Uint8Array>
  readonly compression: Compression
  /** Of the tar itself: what decompresses to more is refused. */
  readonly maxBytes: number
  /** An empty directory, open for reading; stays open. */
  readonly rootFd: number
  readonly policy: Omit<BuildPolicy, 'ordered'>
}

/** Extracts a tar that has no index, member by member. @throws refused, corrupt, too_large, cancelled */
export async function extractTar(
  request: ExtractTarRequest,
  watch: ArchiveWatch,
): Promise<Pick<ReadDone, 'files' | 'bytes'>> {
  const { subject, source, compression, maxBytes, rootFd, policy } = request
  return runReader(
    { subject, mode: 'extract-stream', rootFd, policy: { ...policy, ordered: false } },
    async (send, signal) => {
      let bytes = 0
      for await (const piece of compression === 'none' ? source : decompressed(source)) {
        bytes += piece.length
        if (bytes > maxBytes) throw new FleetError('too_large', `${subject}: the archive is larger than was declared`)
        await send({ kind: 'stream', bytes: piece })
        if (signal.aborted) return
      }
    },
    watch,
  )
}

async function* decompressed(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const stream = Readable.from(source).compose(createZstdDecompress({ chunkSize: 2 ** 20 }))
  try {
    // as: a stream of zlib yields Buffers
    for await (const piece of stream as AsyncIterable<Buffer>) yield piece
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && String(cause.code).startsWith('ZSTD'))
      throw new FleetError('corrupt', 'the archive cannot be decompressed', { cause })
    throw cause
  }
}
