import type { PipelineTools } from '../../agent/pipelines/pipeline.ts'
import { FleetError } from '../../shared/errors.ts'

/** Of an agent that serves none. */
export const NO_INSTANCES: Pick<PipelineTools, 'instances' | 'freezeMs' | 'stopped' | 'datasetAt'> = {
  instances() {
    throw new FleetError('unavailable', 'there are no instances here')
  },
  freezeMs: 60_000,
  stopped: { note: () => undefined, startAgain: async () => undefined, startLeft: async () => 0 },
  datasetAt: async () => undefined,
}
