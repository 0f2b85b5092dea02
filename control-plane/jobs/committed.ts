import type { Logger } from '../../shared/logger.ts'
import type { Committed } from '../db/stores/change-write.ts'
import type { JobFeed } from '../feed/job-feed.ts'
import type { Dispatch } from './dispatch.ts'
import { type Ends, endOf } from './ends.ts'

/** What follows every committed group of changes: those who wait learn of it, the feed grows, freed lanes are given out. */
export function createAfterCommit(deps: {
  readonly ends: Ends
  readonly feed: JobFeed
  readonly dispatch: Dispatch
  readonly logger: Logger
}): (committed: Committed) => void {
  const { ends, feed, dispatch, logger } = deps
  return ({ changes, events, waiting }) => {
    for (const change of changes) {
      const end = endOf(change)
      if (end) ends.deliver(change.job.id, end)
    }
    // Who waits is answered first; the rest follows when their answers are on their way.
    setImmediate(() => {
      feed.offer(events)
      if (waiting || changes.some((change) => change.state === 'queued')) dispatch.wake()
      for (const { job, state, attempt, passed } of changes) {
        if (state === 'cancelling') dispatch.hintCancel({ id: job.id, host: job.host, attempt })
        if (passed.length > 0) logger.info({ event: 'job.state', jobId: job.id, from: job.state, to: state, attempt })
      }
    })
  }
}
