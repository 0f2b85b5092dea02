import { z } from 'zod'
import { JobFailure } from '../../../shared/job-event.ts'
import { JobState } from '../../../shared/job-machine.ts'
import type { EndedRun } from '../../core/schedule-ends.ts'
import { statement } from '../sql.ts'
import { OfSchedule, SCHEDULE_JSON } from './firing-columns.ts'

const EndedRow = z.object({
  run_id: z.string(),
  state: z.string(),
  point_id: z.string().nullable(),
  host: z.string(),
  schedule: OfSchedule,
  trigger: z.enum(['due', 'manual', 'early']),
  late_ms: z.coerce.number(),
  stopped: z.boolean(),
  leased: z.boolean(),
  job_state: JobState.nullable(),
  job_error: JobFailure.nullable(),
  problems: z.coerce.number(),
  verify_state: JobState.nullable(),
  verify_error: JobFailure.nullable(),
  verifies: z.boolean(),
  waited_ms: z.coerce.number(),
})

/** Runs whose jobs have ended, among all that run. */
export const findEnded = statement(
  'firing_find_ended',
  z.object({ id: z.string() }),
  `select r.id
   from schedule_run r
   left join job j on j.id = coalesce(r.verify_job_id, r.job_id)
   where r.state = 'running' and (j.id is null or j.finished_at is not null)
   -- Those that wait to be verified, which may take a day, are not always the first.
   order by r.lease nulls first, r.id
   limit $1`,
)

/** Runs that wait for one of these jobs. */
export const findOfJobs = statement(
  'firing_find_of_jobs',
  z.object({ id: z.string() }),
  `select id from schedule_run where job_id = any($1::uuid[])
   union
   select id from schedule_run where verify_job_id = any($1::uuid[])`,
)

/** Of these runs those whose jobs have ended. */
export const lockEnded = statement(
  'firing_lock_ended',
  EndedRow,
  `select r.id as run_id, r.state, r.point_id, r.host, ${SCHEDULE_JSON}, r.trigger,
     extract(epoch from r.fired_at - r.due_at) * 1000 - s.jitter_ms as late_ms, r.stopped_by is not null as stopped,
     coalesce(r.lease > to_timestamp($1::float8 / 1000), false) as leased, j.state as job_state, j.error as job_error,
     coalesce((j.result ->> 'problemCount')::bigint, 0) as problems, v.state as verify_state, v.error as verify_error,
     r.verify_job_id is not null as verifies, extract(epoch from to_timestamp($1::float8 / 1000) - r.fired_at) * 1000 as waited_ms
   from schedule s
   join schedule_run r on r.schedule_id = s.id
   left join job j on j.id = r.job_id
   left join job v on v.id = r.verify_job_id
   where r.id = any($2::uuid[])
     and (j.id is null or j.finished_at is not null)
     and (r.verify_job_id is null or v.id is null or v.finished_at is not null)
   order by r.id
   for update of s, r skip locked`,
)

export function endedRun(row: z.infer<typeof EndedRow>): Omit<EndedRun, 'graceMs'> {
  return {
    job: row.job_state && { state: row.job_state, error: row.job_error },
    problemCount: row.problems,
    wantsVerification: row.schedule.features.includes('verify'),
    verification: verificationOf(row),
    isStopped: row.stopped,
    trigger: row.trigger,
    lateMs: row.late_ms,
  }
}

function verificationOf(row: z.infer<typeof EndedRow>): EndedRun['verification'] {
  if (!row.verifies) return null
  return { state: row.verify_state ?? 'failed', error: row.verify_error }
}
