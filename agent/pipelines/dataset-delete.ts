import type { Pipeline } from './pipeline.ts'

/** Absence is success: the order may be a repeat. */
export const deleteDataset: Pipeline<'dataset.delete'> = ({ target }, _jobId, tools) => {
  const driver = tools.driver(target.pool)
  return {
    steps: [{ name: 'destroy', commits: true, run: (context) => driver.destroy(target.dataset, context) }],
    result: () => ({}),
  }
}
