import { FleetError } from '../../shared/errors.ts'
import type { JobFailure } from '../../shared/job-event.ts'
import { isTerminal } from '../../shared/job-machine.ts'
import type { JobChange } from '../core/job-change.ts'
import type { JobEnd, JobEnds } from '../core/jobs.ts'

/** Ends kept for waiters that come a moment late. */
const RECENT_ENDS = 4_096
const MAX_WAITERS = 20_000

export const WITHDRAWN: JobFailure = {
  code: 'unavailable',
  message: 'the host did not answer; the order was withdrawn',
}

/** What a change means to somebody waiting; undefined while the job goes on. */
export function endOf(change: JobChange): JobEnd | undefined {
  if (change.withdrawn) return { ok: false, error: WITHDRAWN }
  if (!isTerminal(change.state)) return undefined
  if (change.state === 'succeeded') return { ok: true, result: change.result }
  return { ok: false, error: change.error ?? { code: 'cancelled', message: 'the job was cancelled' } }
}

/** Where requests wait for the ends of jobs, on this replica. */
export interface Ends extends JobEnds {
  /** Whether anybody waits: only then is it worth asking Postgres about an end another replica folded. */
  isAwaited(jobId: string): boolean
}

export function createEnds(): Ends {
  const recent = new Map<string, JobEnd>()
  const waiters = new Map<string, Set<(end: JobEnd) => void>>()

  function remember(jobId: string, end: JobEnd): void {
    recent.set(jobId, end)
    if (recent.size <= RECENT_ENDS) return
    const oldest = recent.keys().next().value
    if (oldest !== undefined) recent.delete(oldest)
  }

  return {
    deliver(jobId, end) {
      remember(jobId, end)
      const resolves = waiters.get(jobId)
      waiters.delete(jobId)
      for (const resolve of resolves ?? []) resolve(end)
    },

    isAwaited: (jobId) => waiters.has(jobId),

    wait(jobId, { timeoutMs, signal }) {
      const ended = recent.get(jobId)
      if (ended) return Promise.resolve(ended)
      if (waiters.size >= MAX_WAITERS)
        return Promise.reject(new FleetError('busy', 'too many requests are waiting; try again'))
      return new Promise((resolve, reject) => {
        const resolves = waiters.get(jobId) ?? new Set()
        waiters.set(jobId, resolves)
        const finish = (act: () => void) => {
          clearTimeout(timer)
          signal.removeEventListener('abort', onAbort)
          resolves.delete(onEnd)
          if (resolves.size === 0 && waiters.get(jobId) === resolves) waiters.delete(jobId)
          act()
        }
        const onEnd = (end: JobEnd) => finish(() => resolve(end))
        const onAbort = () => finish(() => reject(signal.reason))
        const timer = setTimeout(
          () => finish(() => reject(new FleetError('timeout', `job ${jobId} has not ended yet`))),
          timeoutMs,
        )
        if (signal.aborted) return onAbort()
        signal.addEventListener('abort', onAbort, { once: true })
        resolves.add(onEnd)
      })
    },
  }
}
