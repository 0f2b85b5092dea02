import assert from 'node:assert/strict'
import type { DatasetInfo } from '../drivers/driver.ts'
import type { Pipeline } from './pipeline.ts'
import { unwatched } from './volume/unwatched.ts'

/** An empty dataset. The driver makes it whole or not at all, so there is nothing to undo. */
export const createDataset: Pipeline<'dataset.create'> = ({ target }, _jobId, tools) => {
  const driver = tools.driver(target.pool)
  let made: DatasetInfo | undefined
  return {
    steps: [
      {
        name: 'create',
        commits: true,
        async run(context) {
          made = await driver.create(target.dataset, context)
        },
      },
    ],
    async late() {
      await driver.destroy(target.dataset, unwatched())
      return false
    },
    result() {
      assert(made)
      const { atomic, cow } = driver.capabilities
      return { rootInode: made.rootInode, mountpoint: made.mountpoint, atomic, cow }
    },
  }
}
