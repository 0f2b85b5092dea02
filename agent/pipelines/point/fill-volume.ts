import { closeSync, fstatSync, openSync } from 'node:fs'
import { readShape } from '../../archive/image/read-shape.ts'
import { restoreImage } from '../../archive/image/restore-image.ts'
import type { Watch } from '../../drivers/driver.ts'
import { requireFit } from '../../points/bounds.ts'
import { Rated } from '../../points/rate.ts'
import type { StagedVolume, Volumes } from '../../volumes/volumes.ts'
import type { OpenPoint } from './extraction.ts'

export interface FilledVolume {
  readonly staged: StagedVolume
  readonly files: number
  readonly bytes: number
  /** From the first byte read to the last one on disk. */
  readonly seconds: number
}

/**
 * Stages a volume with the image of a point, on disk; a failure leaves nothing.
 * @param wish `sizeBytes`: at least as large, and with zeros behind what the point holds
 * @throws conflict for a point of something else; corrupt, no_space, not_found (a parent), cancelled
 */
export async function fillVolume(
  { chain, tools }: OpenPoint,
  volumes: Volumes,
  wish: { readonly volume: string; readonly createParent: boolean; readonly sizeBytes?: number | undefined },
  watch: Watch,
): Promise<FilledVolume> {
  const { volume, createParent, sizeBytes: least = 0 } = wish
  const shape = await readShape(chain, watch.signal)
  const content = { sizeBytes: Math.max(shape.sizeBytes, least) }
  const staged = await volumes.stage({ volume, content, createParent }, watch)
  try {
    const fd = openSync(staged.device, 'r+')
    try {
      // What is free below a block device its pool tells when it is written to.
      if (fstatSync(fd).isFile()) await requireFit(chain, { paths: [''], fd }, watch.signal)
      const over = await tools.turn(watch.signal)
      const begunMs = performance.now()
      try {
        using rated = new Rated(watch.progress)
        const request = { subject: 'restore', chain, fd, sizeBytes: staged.sizeBytes, scratch: tools.scratch }
        const { files, bytes } = await restoreImage(request, { signal: watch.signal, progress: rated.progress })
        return { staged, files, bytes, seconds: (performance.now() - begunMs) / 1_000 }
      } finally {
        over()
      }
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    await staged[Symbol.asyncDispose]()
    throw error
  }
}
