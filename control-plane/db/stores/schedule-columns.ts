import { z } from 'zod'
import { Progress } from '../../../shared/job-event.ts'
import { percentShown } from '../../core/percent-shown.ts'
import { atSchema } from '../../core/recurrence-schema.ts'
import { KeptRecurrence } from '../../core/schedule-requests.ts'
import type { KeptSchedule } from '../../core/schedule-store.ts'
import { FEATURES, type RunResult, SOURCE_TYPES, STATE_CODES } from '../../core/schedules.ts'

/** The database knows no other. */
export const Result = z.union([z.literal(0), z.literal(-1), z.literal(-2)]) satisfies z.ZodType<RunResult>

/** It was checked when it was written; which unit its start had does not matter to whoever shows it. */
export const KeptAt = atSchema('seconds', z.string())

/** @param code of what the job is part of. @returns null for what is not under way. */
export function percentOf(code: string, progress: Progress | null): number | null {
  return code === 'waiting' || code === 'running' ? percentShown(progress) : null
}

export const ScheduleRow = z
  .object({
    id: z.string(),
    number: z.coerce.number(),
    group_id: z.string(),
    name: z.string(),
    type: z.enum(SOURCE_TYPES),
    container: z.string(),
    host: z.string().nullable(),
    target_id: z.string().nullable(),
    target_number: z.coerce.number().nullable(),
    target_name: z.string().nullable(),
    path: z.string(),
    directory: z.string(),
    at: KeptAt,
    recurrence: KeptRecurrence,
    timezone: z.string(),
    disabled: z.boolean(),
    retention: z.number(),
    features: z.array(z.enum(FEATURES)),
    code: z.enum(STATE_CODES),
    result: Result.nullable(),
    last_run: z.date().nullable(),
    next_due: z.date().nullable(),
    jitter_ms: z.number(),
    progress: Progress.nullable(),
    version: z.coerce.number(),
    created_at: z.date(),
  })
  .transform(
    (row): KeptSchedule => ({
      id: row.id,
      number: row.number,
      groupId: row.group_id,
      name: row.name,
      type: row.type,
      container: row.container,
      host: row.host,
      targetId: row.target_id,
      target:
        row.target_id === null
          ? null
          : { id: row.target_id, number: row.target_number ?? 0, name: row.target_name ?? '' },
      path: row.path,
      directory: row.directory,
      at: row.at,
      recurrence: row.recurrence,
      timezone: row.timezone,
      disabled: row.disabled,
      retention: row.retention,
      features: row.features,
      jitterMs: row.jitter_ms,
      state: {
        code: row.code,
        result: row.result,
        lastRun: row.last_run,
        nextRun: row.next_due,
        progress: percentOf(row.code, row.progress),
      },
      createdAt: row.created_at,
      version: row.version,
    }),
  )

export const SCHEDULE_COLUMNS = `s.id, s.number, s.group_id, s.name, s.type, s.container, s.host, s.target_id, t.number as target_number,
  t.name as target_name, s.path, s.directory, s.at, s.recurrence, s.timezone, s.disabled, s.retention, s.features, s.code, s.result,
  s.last_run, s.next_due, s.jitter_ms, j.progress, s.version, s.created_at`

/** The run that is under way, and the job that it waits for. */
export const SCHEDULE_JOINS = `left join target t on t.id = s.target_id
   left join schedule_run r on r.schedule_id = s.id and r.state <> 'ended'
   left join job j on j.id = coalesce(r.verify_job_id, r.job_id)`

/**
 * The host that a run of schedule `s` is counted for; '' where nobody knows it, or several have its container. An original that was
 * migrated away is meant only with its host, or when it runs again.
 */
export const SLOT_HOST = `coalesce(case s.type
     when 'dataset' then (
       select h.name
       from dataset d
       join pool p on p.id = d.pool_id
       join host h on h.id = p.host_id
       where d.group_id = s.group_id and d.name = s.container
     )
     when 'path' then s.host
     else coalesce((
       select min(h.name)
       from instance i
       join host h on h.id = i.host_id
       where i.group_id = s.group_id and i.type = s.type and i.gone_at is null and i.ref is not null
         and (i.name = s.container or i.ref = s.container) and (s.host is null or h.name = s.host)
         and (i.moved_to is null or i.state <> 'STOPPED' or s.host is not null)
       having count(distinct h.id) = 1
     ), s.host)
   end, '')`

export const SLOT_PLACE = `coalesce(s.target_id::text, 'local')`
