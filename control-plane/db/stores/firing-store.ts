import { z } from 'zod'
import { JobFailure } from '../../../shared/job-event.ts'
import { JobState } from '../../../shared/job-machine.ts'
import type { EndedRun, RunEnd } from '../../core/schedule-ends.ts'
import type { Grant, PlaceLoad } from '../../core/schedule-slots.ts'
import { FEATURES, SOURCE_TYPES } from '../../core/schedules.ts'
import { ADVISORY_LOCKS } from '../advisory-locks.ts'
import { type Sql, statement } from '../sql.ts'
import { endRuns } from './run-ends.ts'
import type { Bounds } from './run-store.ts'
import { SLOT_HOST } from './schedule-columns.ts'

/** For so long a replica that has claimed a run is trusted to place its order. */
const LEASE_MS = 10_000

/** A run with what its order says. */
export interface FiringRun {
  readonly id: string
  readonly pointId: string | null
  /** That its slot is counted for. */
  readonly host: string
  readonly schedule: z.infer<typeof OfSchedule>
}

const OfSchedule = z
  .object({
    schedule_id: z.string(),
    number: z.coerce.number(),
    group_id: z.string(),
    name: z.string(),
    type: z.enum(SOURCE_TYPES),
    container: z.string(),
    host: z.string().nullable(),
    target_id: z.string().nullable(),
    directory: z.string(),
    features: z.array(z.enum(FEATURES)),
  })
  .transform(({ schedule_id: id, group_id: groupId, target_id: targetId, ...row }) => ({
    id,
    groupId,
    targetId,
    ...row,
  }))

const OF_SCHEDULE =
  's.id as schedule_id, s.number, s.group_id, s.name, s.type, s.container, s.host, s.target_id, s.directory, s.features'

const Firing = z.object({ run_id: z.string(), point_id: z.string().nullable(), host: z.string(), schedule: OfSchedule })
const SCHEDULE_JSON = `(select to_jsonb(o) from (select ${OF_SCHEDULE}) o) as schedule`

const loads = statement(
  'firing_loads',
  z
    .object({
      host: z.string(),
      place: z.string(),
      waiting: z.coerce.number(),
      oldest: z.date().nullable(),
      busy: z.coerce.number(),
    })
    .transform(
      (row): PlaceLoad => ({
        host: row.host,
        place: row.place,
        waiting: row.waiting,
        oldestMs: row.oldest?.getTime() ?? 0,
        busy: row.busy,
      }),
    ),
  `select host, place,
     count(*) filter (where state = 'waiting' and (lease is null or lease <= to_timestamp($1::float8 / 1000))) as waiting,
     min(due_at) filter (where state = 'waiting') as oldest,
     count(*) filter (where state in ('granted', 'running')) as busy
   from schedule_run
   where state <> 'ended'
   group by host, place`,
)

/** Held to commit: whoever counts slots and whoever takes them are one. */
const alone = statement(
  'firing_alone',
  z.object({ alone: z.boolean() }),
  `select pg_try_advisory_xact_lock(${ADVISORY_LOCKS.slots}) as alone`,
)

const grant = statement(
  'firing_grant',
  Firing,
  `with chosen as (
     select r.id
     from jsonb_to_recordset($1::jsonb) as g(host text, place text, count integer)
     cross join lateral (
       select id
       from schedule_run
       where state = 'waiting' and host = g.host and place = g.place and (lease is null or lease <= to_timestamp($2::float8 / 1000))
       order by due_at
       limit g.count
       for update skip locked
     ) r
   )
   update schedule_run r
   set state = 'granted', lease = to_timestamp($3::float8 / 1000)
   from chosen, schedule s
   where r.id = chosen.id and s.id = r.schedule_id
   returning r.id as run_id, r.point_id, r.host, ${SCHEDULE_JSON}`,
)

/** Whoever was to place them is gone. A lease that is further ahead than any was given by a clock that was wrong. */
const abandoned = statement(
  'firing_abandoned',
  Firing,
  `with chosen as (
     select id
     from schedule_run
     where state = 'granted'
       and (lease is null or lease <= to_timestamp($1::float8 / 1000) or lease > to_timestamp(($2::float8 + 60000) / 1000))
     order by due_at
     limit $3
     for update skip locked
   )
   update schedule_run r
   set lease = to_timestamp($2::float8 / 1000)
   from chosen, schedule s
   where r.id = chosen.id and s.id = r.schedule_id
   returning r.id as run_id, r.point_id, r.host, ${SCHEDULE_JSON}`,
)

/** Its dataset may be on another host by then. */
const postpone = statement(
  'firing_postpone',
  z.unknown(),
  `update schedule_run r
   set state = 'waiting', reason = $2, lease = to_timestamp($3::float8 / 1000), host = ${SLOT_HOST}
   from schedule s
   where r.id = $1 and r.state = 'granted' and s.id = r.schedule_id`,
)

const lockOne = statement(
  'firing_lock_one',
  z.object({ id: z.string(), state: z.string() }),
  `select r.id, r.state
   from schedule s
   join schedule_run r on r.schedule_id = s.id
   where r.id = $1 and r.state = $2
   for update of s, r`,
)

const tellWaiting = statement(
  'firing_tell_waiting',
  z.unknown(),
  `update schedule_run
   set reason = t.reason
   from jsonb_to_recordset($1::jsonb) as t(host text, place text, reason text)
   cross join lateral (
     select id
     from schedule_run
     where state = 'waiting' and host = t.host and place = t.place and reason is distinct from t.reason
     -- Kept as it is: else the places would be compared with all that wait.
     offset 0
   ) w
   where schedule_run.id = w.id and schedule_run.state = 'waiting'`,
)

const EndedRow = z.object({
  run_id: z.string(),
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

/** @param chosen the ids of runs to look at, of which `$2` at most. */
const lockEndedOf = (chosen: string) => `with chosen as materialized (
     ${chosen}
   )
   select r.id as run_id, r.point_id, r.host, ${SCHEDULE_JSON}, r.trigger,
     extract(epoch from r.fired_at - r.due_at) * 1000 - s.jitter_ms as late_ms, r.stopped_by is not null as stopped,
     coalesce(r.lease > to_timestamp($1::float8 / 1000), false) as leased, j.state as job_state, j.error as job_error,
     coalesce((j.result ->> 'problemCount')::bigint, 0) as problems, v.state as verify_state, v.error as verify_error,
     r.verify_job_id is not null as verifies, extract(epoch from to_timestamp($1::float8 / 1000) - r.fired_at) * 1000 as waited_ms
   from chosen
   join schedule_run r on r.id = chosen.id
   join schedule s on s.id = r.schedule_id
   left join job j on j.id = r.job_id
   left join job v on v.id = r.verify_job_id
   where r.state = 'running'
     and (j.id is null or j.finished_at is not null)
     and (r.verify_job_id is null or v.id is null or v.finished_at is not null)
   order by r.id
   for update of s, r skip locked`

const lockEnded = statement(
  'firing_lock_ended',
  EndedRow,
  lockEndedOf(`select r.id
     from schedule_run r
     left join job j on j.id = coalesce(r.verify_job_id, r.job_id)
     where r.state = 'running' and (j.id is null or j.finished_at is not null)
     -- Those that wait to be verified, which may take a day, are not always the first.
     order by r.lease nulls first, r.id
     limit $2`),
)

const lockEndedWith = statement(
  'firing_lock_ended_with',
  EndedRow,
  lockEndedOf(`(select id from schedule_run where job_id = any($3::uuid[]) limit $2)
     union
     (select id from schedule_run where verify_job_id = any($3::uuid[]) limit $2)`),
)

const lease = statement(
  'firing_lease',
  z.unknown(),
  'update schedule_run set lease = to_timestamp($2::float8 / 1000) where id = any($1::uuid[])',
)

const stopsOwed = statement(
  'firing_stops_owed',
  z.object({ job_id: z.string(), schedule: OfSchedule }),
  `select j.id as job_id, ${SCHEDULE_JSON}
   from schedule_run r
   join schedule s on s.id = r.schedule_id
   join job j on j.id = coalesce(r.verify_job_id, r.job_id)
   where r.state = 'running' and r.stopped_by is not null and j.state in ('queued', 'dispatched', 'running')
   limit $1`,
)

/** Runs on their way from waiting to their end. Every row is claimed. */
export interface FiringStore {
  /** Those that get a slot now are the caller's to place; none when another replica is at it. */
  grant(
    nowMs: number,
    choose: (loads: readonly PlaceLoad[]) => { readonly grants: readonly Grant[]; readonly waits: readonly Wait[] },
  ): Promise<readonly FiringRun[]>
  abandoned(bounds: Bounds): Promise<readonly FiringRun[]>
  /** Back to those that wait, and not before `untilMs`. */
  postpone(runId: string, until: { readonly reason: string; readonly untilMs: number }): Promise<void>
  /** Ends a run without a job, or one whose point cannot be verified; nothing happens to one that is `from` no more. */
  end(run: { readonly id: string; readonly from: 'granted' | 'running' }, nowMs: number, end: RunEnd): Promise<void>
  /**
   * Settles runs whose jobs have ended. @param jobIds only runs that wait for one of these.
   * @returns how many there were, and those whose points the caller is to verify.
   */
  settle(
    bounds: Bounds & { readonly jobIds?: readonly string[] | undefined },
    decide: (run: Omit<EndedRun, 'graceMs'>) => RunEnd | 'verify',
  ): Promise<{ readonly count: number; readonly verify: readonly (FiringRun & { readonly waitedMs: number })[] }>
  /** Jobs of runs that somebody stopped, and that have not been told yet. */
  stopsOwed(limit: number): Promise<readonly { readonly jobId: string; readonly schedule: FiringRun['schedule'] }[]>
}

/** What the runs of one host and place wait for. */
export interface Wait {
  readonly host: string
  readonly place: string
  readonly reason: string
}

export function createFiringStore(sql: Sql): FiringStore {
  return {
    grant: (nowMs, choose) =>
      sql.transaction(async (tx) => {
        const [first] = await tx.rows(alone, [])
        if (first?.alone !== true) return []
        const { grants, waits } = choose(await tx.rows(loads, [nowMs]))
        if (waits.length > 0) await tx.rows(tellWaiting, [JSON.stringify(waits)])
        if (grants.length === 0) return []
        return (await tx.rows(grant, [JSON.stringify(grants), nowMs, nowMs + LEASE_MS])).map(firing)
      }),

    abandoned: async ({ nowMs, limit }) => (await sql.rows(abandoned, [nowMs, nowMs + LEASE_MS, limit])).map(firing),

    async postpone(runId, { reason, untilMs }) {
      await sql.rows(postpone, [runId, reason, untilMs])
    },

    end: ({ id, from }, nowMs, end) =>
      sql.transaction(async (tx) => {
        const [run] = await tx.rows(lockOne, [id, from])
        if (run) await endRuns(tx, nowMs, [{ id, from, end }])
      }),

    settle: ({ nowMs, limit, jobIds }, decide) =>
      sql.transaction(async (tx) => {
        const found = jobIds
          ? await tx.rows(lockEndedWith, [nowMs, limit, jobIds])
          : await tx.rows(lockEnded, [nowMs, limit])
        const decided = found.map((row) => ({ row, end: decide(endedRun(row)) }))
        const ends = decided.flatMap(({ row, end }) =>
          end === 'verify' ? [] : [{ id: row.run_id, from: 'running', end }],
        )
        const verify = decided.filter(({ row, end }) => end === 'verify' && !row.leased).map(({ row }) => row)
        if (verify.length > 0) await tx.rows(lease, [verify.map((row) => row.run_id), nowMs + LEASE_MS])
        const count = await endRuns(tx, nowMs, ends)
        return { count, verify: verify.map((row) => ({ ...firing(row), waitedMs: row.waited_ms })) }
      }),

    stopsOwed: async (limit) =>
      (await sql.rows(stopsOwed, [limit])).map(({ job_id: jobId, schedule }) => ({ jobId, schedule })),
  }
}

function firing(row: z.infer<typeof Firing>): FiringRun {
  return { id: row.run_id, pointId: row.point_id, host: row.host, schedule: row.schedule }
}

function endedRun(row: z.infer<typeof EndedRow>): Omit<EndedRun, 'graceMs'> {
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
