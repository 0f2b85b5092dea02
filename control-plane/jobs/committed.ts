import { isTerminal } from '../../shared/job-machine.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Committed } from '../db/stores/change-store.ts'
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
  return ({ changes, events }) => {
    let freed = false
    for (const change of changes) {
      const end = endOf(change)
      if (end) ends.deliver(change.job.id, end)
      freed ||= isTerminal(change.state) || change.state === 'queued'
      if (change.state === 'cancelling')
        dispatch.hintCancel({ id: change.job.id, host: change.job.host, attempt: change.attempt })
      if (change.passed.length > 0) {
        logger.info({
          event: 'job.state',
          jobId: change.job.id,
          from: change.job.state,
          to: change.state,
          attempt: change.attempt,
        })
      }
    }
    feed.offer(events)
    if (freed) dispatch.wake()
  }
}
