import { z } from 'zod'

export const JobState = z.enum(['queued', 'dispatched', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled'])
export type JobState = z.infer<typeof JobState>

export const JobTransition = z.enum(['dispatch', 'start', 'progress', 'expire', 'cancel', 'succeed', 'fail', 'stop'])
export type JobTransition = z.infer<typeof JobTransition>

/**
 * The whole life of a job. A missing cell means the event is stale or out of order and must be ignored.
 *
 * - Agents' events may overtake our own bookkeeping, so `queued` and `dispatched` take every one of them.
 * - `expire` is a lost lease: the order goes back to the queue under a new attempt number. `cancelling` survives it.
 * - `cancelling` still accepts `succeed` and `fail`: the agent may finish before it reads the request.
 * - `queued` is cancelled at once only because it was never sent; once sent, the agent must confirm with `stop`.
 */
const transitions: Record<JobState, Partial<Record<JobTransition, JobState>>> = {
  queued: {
    dispatch: 'dispatched',
    start: 'running',
    progress: 'running',
    succeed: 'succeeded',
    fail: 'failed',
    stop: 'cancelled',
    cancel: 'cancelled',
  },
  dispatched: {
    start: 'running',
    progress: 'running',
    succeed: 'succeeded',
    fail: 'failed',
    stop: 'cancelled',
    cancel: 'cancelling',
    expire: 'queued',
  },
  running: {
    progress: 'running',
    succeed: 'succeeded',
    fail: 'failed',
    stop: 'cancelled',
    cancel: 'cancelling',
    expire: 'queued',
  },
  cancelling: { stop: 'cancelled', succeed: 'succeeded', fail: 'failed', expire: 'cancelling' },
  succeeded: {},
  failed: {},
  cancelled: {},
}

/** The state after `event`, or undefined when `event` does not apply in `state`. */
export function nextJobState(state: JobState, event: JobTransition): JobState | undefined {
  return transitions[state][event]
}

export function isTerminal(state: JobState): boolean {
  return Object.keys(transitions[state]).length === 0
}

/** States in which a job still holds its lanes and somebody still owes it an end. */
export const ACTIVE_STATES: readonly JobState[] = JobState.options.filter((state) => !isTerminal(state))
