import { NO_EXPORTS } from '../../agent/export/no-exports.ts'
import { createHoldTurns } from '../../agent/pipelines/instance/hold-turns.ts'
import type { PipelineTools } from '../../agent/pipelines/pipeline.ts'
import { FleetError } from '../../shared/errors.ts'
import { createLogger } from '../../shared/logger.ts'

type Unserved = Pick<
  PipelineTools,
  'instances' | 'freezeMs' | 'stopped' | 'turns' | 'datasetAt' | 'volumes' | 'exports' | 'unseal' | 'logger'
>

/** Of an agent that serves neither instances nor volumes nor exports. */
export const NO_INSTANCES: Unserved = {
  volumes() {
    throw new FleetError('unavailable', 'there are no volumes here')
  },
  exports: NO_EXPORTS,
  unseal: undefined,
  logger: createLogger('agent', 'silent'),
  instances() {
    throw new FleetError('unavailable', 'there are no instances here')
  },
  freezeMs: 60_000,
  stopped: { note: () => undefined, startAgain: async () => undefined, startLeft: async () => 0 },
  turns: createHoldTurns(),
  datasetAt: async () => undefined,
}
