import { z } from 'zod'
import type { EndedRun, RunEnd } from '../../core/schedule-ends.ts'
import type { Grant, PlaceLoad } from '../../core/schedule-slots.ts'
import { ADVISORY_LOCKS } from '../advisory-locks.ts'
import { claims, type Sql, statement } from '../sql.ts'
import { endedRun, findEnded, findOfJobs, lockEnded } from './ended-runs.ts'
import { OfSchedule, SCHEDULE_JSON } from './firing-columns.ts'
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

const Firing = z.object({ run_id: z.string(), point_id: z.string().nullable(), host: z.string(), schedule: OfSchedule })
/** Of a run, as in `byPlace`. */
const PLACE_KEY = `(host || ' ' || place)`

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

/**
 * As many of each place as it has slots for, the longest due first: `$1` is an object of counts by host and place. One pass over all
 * that wait; found by place, they may be looked for once for each, among more than Postgres believes that there are.
 */
const choose = statement(
  'firing_choose',
  z.object({ id: z.string() }),
  `select id
   from (
     select id, ($1::jsonb ->> ${PLACE_KEY})::integer as slots,
       row_number() over (partition by host, place order by due_at, id) as n
     from schedule_run
     where state = 'waiting' and (lease is null or lease <= to_timestamp($2::float8 / 1000)) and $1::jsonb ? ${PLACE_KEY}
   ) waiting
   where n <= slots`,
)

/** Those that no other transaction has in its hands. */
const grant = claims(
  'firing_grant',
  Firing,
  `with chosen as (
     select id, state from schedule_run where id = any($1::uuid[]) for update skip locked
   )
   update schedule_run r
   set state = 'granted', lease = to_timestamp($2::float8 / 1000)
   from chosen, schedule s
   where r.id = chosen.id and chosen.state = 'waiting' and s.id = r.schedule_id
   returning r.id as run_id, r.point_id, r.host, ${SCHEDULE_JSON}`,
)

/** Whoever was to place them is gone. A lease that is further ahead than any was given by a clock that was wrong. */
const abandoned = claims(
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
   set reason = $1::jsonb ->> ${PLACE_KEY}
   where state = 'waiting' and $1::jsonb ? ${PLACE_KEY} and reason is distinct from $1::jsonb ->> ${PLACE_KEY}`,
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
    decide: (loads: readonly PlaceLoad[]) => { readonly grants: readonly Grant[]; readonly waits: readonly Wait[] },
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
    grant: (nowMs, decide) =>
      sql.transaction(async (tx) => {
        const [first] = await tx.rows(alone, [])
        if (first?.alone !== true) return []
        const { grants, waits } = decide(await tx.rows(loads, [nowMs]))
        if (waits.length > 0) await tx.rows(tellWaiting, [byPlace(waits, ({ reason }) => reason)])
        if (grants.length === 0) return []
        const chosen = await tx.rows(choose, [byPlace(grants, ({ count }) => count), nowMs])
        return (await tx.rows(grant, [chosen.map(({ id }) => id), nowMs + LEASE_MS])).map(firing)
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
        const chosen = jobIds ? await tx.rows(findOfJobs, [jobIds]) : await tx.rows(findEnded, [limit])
        if (chosen.length === 0) return { count: 0, verify: [] }
        const locked = await tx.rows(lockEnded, [nowMs, chosen.map(({ id }) => id)])
        const found = locked.filter(({ state }) => state === 'running')
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

/** A JSON object: neither names of hosts nor places hold a blank. */
function byPlace<Item extends Pick<Grant, 'host' | 'place'>>(items: readonly Item[], value: (item: Item) => unknown) {
  return JSON.stringify(Object.fromEntries(items.map((item) => [`${item.host} ${item.place}`, value(item)])))
}

function firing(row: z.infer<typeof Firing>): FiringRun {
  return { id: row.run_id, pointId: row.point_id, host: row.host, schedule: row.schedule }
}
