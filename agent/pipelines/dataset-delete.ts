import type { Pipeline } from './pipeline.ts'
import { dropBases } from './point/base-snapshots.ts'
import { requireUnused } from './require-unused.ts'

/** Absence is success: the order may be a repeat. What the agent kept of it for its next backup goes with it. */
export const deleteDataset: Pipeline<'dataset.delete'> = (spec, _jobId, tools) => {
  const { target, madeFor } = spec
  const driver = tools.driver(target.pool)
  return {
    steps: [
      {
        name: 'destroy',
        commits: true,
        async run(context) {
          if (madeFor !== undefined) await requireUnused({ place: target, by: 'any' }, tools, context.signal)
          await driver.destroy(target.dataset, context)
          await dropBases(tools, target.dataset)
        },
      },
    ],
    async late() {
      if ((await driver.find(target.dataset)) !== undefined) return false
      await dropBases(tools, target.dataset)
      return true
    },
    result: () => ({}),
  }
}
