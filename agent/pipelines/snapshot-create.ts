import assert from 'node:assert/strict'
import { FleetError } from '../../shared/errors.ts'
import type { DatasetPlace } from '../../shared/job-spec.ts'
import type { ImageInfo } from '../drivers/driver.ts'
import type { Pipeline, PipelineTools, Work } from './pipeline.ts'
import { unwatched } from './volume/unwatched.ts'

export const createSnapshot: Pipeline<'snapshot.create'> = ({ source, target, readonly }, _jobId, tools) =>
  imageWork({ source, target, readonly }, tools)

/** A clone is a snapshot that is written to. */
export const cloneDataset: Pipeline<'dataset.clone'> = ({ source, target }, _jobId, tools) =>
  imageWork({ source, target, readonly: false }, tools)

interface ImageRequest {
  readonly source: DatasetPlace
  readonly target: DatasetPlace
  readonly readonly: boolean
}

/** The driver makes the image whole or not at all, so there is nothing to undo. */
function imageWork(
  { source, target, readonly }: ImageRequest,
  tools: PipelineTools,
): Work<'snapshot.create' | 'dataset.clone'> {
  const driver = tools.driver(target.pool)
  let made: ImageInfo | undefined
  return {
    steps: [
      {
        name: 'snapshot',
        commits: true,
        async run(context) {
          if (source.pool !== target.pool) throw new FleetError('invalid', 'source and target must be in one pool')
          made = await driver.snapshot({ source: source.dataset, target: target.dataset, readonly }, context)
        },
      },
    ],
    async late() {
      await driver.destroy(target.dataset, unwatched())
      return false
    },
    result() {
      assert(made)
      const { rootInode, mountpoint, atomic, cow } = made
      return { rootInode, mountpoint, atomic, cow }
    },
  }
}
