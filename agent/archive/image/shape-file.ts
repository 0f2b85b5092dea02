import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { MAX_VOLUME_BYTES } from '../../../shared/volume-spec.ts'
import { chunkCount, type ImageShape, LEAST_CHUNK_BYTES } from './image-shape.ts'

const MOST_CHUNK_BYTES = 2 ** 30
const MAX_CHUNKS = 2 ** 32

const isPowerOfTwo = (value: number) => 2 ** Math.round(Math.log2(value)) === value
const VolumeFile = z.object({
  version: z.literal(1),
  size_bytes: z.number().int().min(1).max(MAX_VOLUME_BYTES),
  chunk_bytes: z.number().int().min(LEAST_CHUNK_BYTES).max(MOST_CHUNK_BYTES).refine(isPowerOfTwo),
})

/** @throws corrupt */
export function parseShape(text: string): ImageShape {
  const { success, data } = VolumeFile.safeParse(jsonOf(text))
  const shape = success ? { sizeBytes: data.size_bytes, chunkBytes: data.chunk_bytes } : undefined
  if (shape === undefined || chunkCount(shape) > MAX_CHUNKS)
    throw new FleetError('corrupt', 'the point does not tell what its volume is like', { detail: text.slice(0, 200) })
  return shape
}

/** @throws invalid for what no archive may hold */
export function requireShape({ sizeBytes, chunkBytes }: ImageShape): void {
  const shape = VolumeFile.safeParse({ version: 1, size_bytes: sizeBytes, chunk_bytes: chunkBytes })
  if (!shape.success || chunkCount({ sizeBytes, chunkBytes }) > MAX_CHUNKS)
    throw new FleetError('invalid', 'an image of this size, or in these chunks, cannot be archived')
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
