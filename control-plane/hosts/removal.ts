import { isTerminal } from '../../shared/job-machine.ts'
import type { HostRemoval } from '../core/hosts.ts'
import type { JobChange, LockedJob } from '../core/job-change.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { Committed } from '../db/stores/change-write.ts'
import type { RemovalStore } from '../db/stores/removal-store.ts'

/** Nobody will report on it any more. */
function giveUp(job: LockedJob): JobChange | undefined {
  if (isTerminal(job.state)) return undefined
  const error = { code: 'unavailable' as const, message: `the host '${job.host}' was removed from the fleet` }
  return { job, state: 'failed', attempt: job.attempt, error, passed: ['failed'] }
}

export function createRemoval(deps: {
  readonly store: RemovalStore
  readonly changes: ChangeStore
  readonly afterCommit: (committed: Committed) => void
  /** Makes NATS turn away whom Postgres says was revoked. */
  readonly enforce: () => Promise<void>
}): HostRemoval {
  const { store, changes } = deps
  return {
    mark: store.mark,
    enforce: deps.enforce,
    async clear() {
      let failedJobs = 0
      for (;;) {
        const jobs = await store.unfinishedJobs()
        if (jobs.length === 0) break
        const committed = await changes.change(jobs, giveUp)
        deps.afterCommit(committed)
        failedJobs += committed.changes.length
        // Whatever else changed them meanwhile is looked at by the next sweep.
        if (committed.changes.length === 0) break
      }
      const { datasets, points } = await store.forget()
      return { failedJobs, forgottenDatasets: datasets, forgottenPoints: points }
    },
  }
}
