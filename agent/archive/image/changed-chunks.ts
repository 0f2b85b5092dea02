import type { ImageShape } from './image-shape.ts'

/**
 * Which chunks may differ between two images that nobody writes to, by what blocks they share. Both are files of one file system; the
 * first is what the chain's last point was made of.
 * @returns in order, with what lies behind the end of a smaller one; undefined where the file system does not tell, or one is no file
 */
export async function changedChunks(request: {
  readonly baseFd: number
  readonly fd: number
  readonly chunkBytes: ImageShape['chunkBytes']
}): Promise<Uint32Array | undefined> {
  return request.fd < 0 ? new Uint32Array() : undefined
}
