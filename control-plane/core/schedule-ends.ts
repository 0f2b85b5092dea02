import type { JobFailure } from '../../shared/job-event.ts'
import type { JobState } from '../../shared/job-machine.ts'
import type { RunOutcome } from './runs.ts'
import type { RunResult } from './schedules.ts'

interface EndedJob {
  readonly state: JobState
  readonly error: Pick<JobFailure, 'message'> | null
}

/** A run whose job has ended. */
export interface EndedRun {
  /** Null: it is gone. */
  readonly job: EndedJob | null
  /** Files that its point lacks. */
  readonly problemCount: number
  readonly wantsVerification: boolean
  /** Of the job that verified its point, where there was one. */
  readonly verification: EndedJob | null
  readonly isStopped: boolean
  readonly trigger: 'due' | 'manual' | 'early'
  /** How long after its time it was fired. */
  readonly lateMs: number
  readonly graceMs: number
}

export interface RunEnd {
  readonly outcome: RunOutcome
  readonly reason: string | null
  readonly result: RunResult
}

/** What the run came to, or that its point is to be verified first. */
export function endOfRun(run: EndedRun): RunEnd | 'verify' {
  const { job, verification, problemCount } = run
  if (job === null) return failed('its job is gone')
  if (job.state === 'cancelled') return stopped(run)
  if (job.state !== 'succeeded') return failed(job.error?.message ?? 'its job failed')
  if (problemCount > 0) {
    const files = problemCount === 1 ? '1 file' : `${problemCount} files`
    return failed(`${files} could not be read, or not as one state: the point is partial`)
  }
  if (run.wantsVerification && verification === null) return run.isStopped ? stopped(run) : 'verify'
  if (verification?.state === 'cancelled') return stopped(run)
  if (verification !== null && verification.state !== 'succeeded') {
    return failed(`the point could not be verified: ${verification.error?.message ?? 'its job failed'}`)
  }
  if (run.trigger !== 'due' || run.lateMs <= run.graceMs) return { outcome: 'ran', reason: null, result: 0 }
  return { outcome: 'late', reason: `it began ${Math.round(run.lateMs / 1000)} seconds after its time`, result: 0 }
}

export function failed(reason: string): RunEnd {
  return { outcome: 'failed', reason, result: -1 }
}

function stopped({ isStopped }: EndedRun): RunEnd {
  return { outcome: 'stopped', reason: isStopped ? 'somebody stopped it' : 'its job was cancelled', result: -2 }
}
