import type { JobState } from '../../shared/job-machine.ts'
import type { JobEventBody, UnnumberedEvent } from './event-body.ts'
import type { JobChange, LockedJob } from './job-change.ts'

/** The feed's account of a change: every state passed through, `queued` first if nobody was told of the job yet. */
export function eventsOf(change: JobChange): UnnumberedEvent[] {
  const { job } = change
  const announced: UnnumberedEvent[] = job.announced ? [] : [jobEvent(job, { state: 'queued', attempt: job.attempt })]
  const last = change.passed.at(-1)
  const passed = change.passed.map((state) =>
    jobEvent(job, {
      state,
      attempt: change.attempt,
      ...(state === last && change.progress ? { progress: change.progress } : {}),
      ...(state === last && change.error ? { error: change.error } : {}),
    }),
  )
  if (last !== undefined || change.progress === undefined) return [...announced, ...passed]
  const body = { state: change.state, attempt: change.attempt, progress: change.progress }
  return [...announced, { ...jobEvent(job, body), type: 'job.progress' }]
}

type Facts = Pick<JobEventBody, 'attempt' | 'progress' | 'error'> & { readonly state: JobState }

function jobEvent(job: LockedJob, facts: Facts): UnnumberedEvent {
  const { state, ...rest } = facts
  const body: JobEventBody = {
    job_id: job.id,
    kind: job.kind,
    state,
    host: job.host,
    dataset: job.datasetName,
    ...rest,
  }
  return { type: `job.${state}`, jobId: job.id, groupId: job.groupId, body }
}
