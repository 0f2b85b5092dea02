import type { Logger } from '../../shared/logger.ts'
import type { FeedEvent } from '../core/feed.ts'
import type { JobReader } from '../core/jobs.ts'
import type { Ends } from './ends.ts'

const ENDING = new Set(['job.succeeded', 'job.failed', 'job.cancelled', 'job.cancelling'])

/** Brings ends that another replica folded to those who wait here. */
export function createEndWatcher(deps: {
  readonly ends: Ends
  readonly jobs: JobReader
  readonly logger: Logger
}): (events: readonly FeedEvent[]) => void {
  const { ends, jobs, logger } = deps

  async function bring(jobId: string): Promise<void> {
    const end = await jobs.end(jobId)
    if (end) ends.deliver(jobId, end)
  }

  return (events) => {
    for (const { type, jobId } of events) {
      if (jobId === null || !ENDING.has(type) || !ends.isAwaited(jobId)) continue
      // Who waits reads Postgres once more before giving up, so a failure here only costs time.
      bring(jobId).catch((error: unknown) => logger.warn({ event: 'job.end_unread', jobId, error: String(error) }))
    }
  }
}
