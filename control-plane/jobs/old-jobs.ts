import type { Logger } from '../../shared/logger.ts'
import type { JobPruneStore } from '../db/stores/job-prune-store.ts'

/** Of one tick, so that it ends: with one a minute, 28 million jobs a day. */
const MAX_STEPS = 20

/** Forgets what ended long ago. */
export function createOldJobs(deps: {
  readonly store: JobPruneStore
  readonly olderThanMs: number
  readonly logger: Logger
}): () => Promise<void> {
  return async () => {
    let [jobs, batches] = [0, 0]
    for (let n = 0; n < MAX_STEPS; n += 1) {
      const step = await deps.store.step(deps.olderThanMs)
      if (step === undefined) break
      jobs += step.jobs
      batches += step.batches
    }
    if (jobs + batches > 0) deps.logger.info({ event: 'jobs.pruned', jobs, batches })
  }
}
