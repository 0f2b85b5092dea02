import { z } from 'zod'
import { newId } from '../../../shared/ids.ts'
import { nextDue } from '../../core/recurrence.ts'
import { type ActiveRun, type DueDecision, type DueQuestion, missedBecause } from '../../core/schedule-due.ts'
import { KeptRecurrence } from '../../core/schedule-requests.ts'
import { claims, type Sql, statement, type Transaction } from '../sql.ts'
import { endRuns } from './run-ends.ts'
import { SLOT_HOST, SLOT_PLACE } from './schedule-columns.ts'

/** A ledger that is further ahead than this was written by a clock that was wrong. */
const AHEAD_MS = 5 * 60_000

/** What cannot be computed is tried again so late: another Node may know. */
const ASIDE_MS = 3_600_000

const ms = z.coerce.number()
const Planned = z.object({
  id: z.string(),
  recurrence: KeptRecurrence,
  ledger_ms: ms,
  next_ms: ms.nullable(),
  disabled: z.boolean(),
})
const PLANNED = `id, recurrence, extract(epoch from ledger_at) * 1000 as ledger_ms, extract(epoch from next_due) * 1000 as next_ms, disabled`

const begin = statement(
  'run_begin_new',
  z.object({ id: z.string() }),
  `update schedule
   set code = 'scheduled', version = version + 1
   where id in (
     select id from schedule where code = 'init' and not disabled order by id limit $1 for update skip locked
   )
   returning id`,
)

const lockDue = statement(
  'run_lock_due',
  z.object({ id: z.string() }),
  `select id
   from schedule
   where fire_at <= to_timestamp($1::float8 / 1000)
   order by fire_at
   limit $2
   for update skip locked`,
)

/** After the lock, so that it sees the run of whoever had it before. */
const readDue = claims(
  'run_read_due',
  z.object({
    id: z.string(),
    recurrence: KeptRecurrence,
    ledger_ms: ms,
    jitter_ms: z.number(),
    host: z.string(),
    place: z.string(),
    run_id: z.string().nullable(),
    run_state: z.string().nullable(),
    expires_at: z.date().nullable(),
    reason: z.string().nullable(),
  }),
  `select s.id, s.recurrence, extract(epoch from s.ledger_at) * 1000 as ledger_ms, s.jitter_ms, ${SLOT_HOST} as host,
     ${SLOT_PLACE} as place, r.id as run_id, r.state as run_state, r.expires_at, r.reason
   from schedule s
   left join lateral (
     select * from schedule_run where schedule_id = s.id and state <> 'ended' offset 0
   ) r on true
   where s.id = any($1::uuid[])`,
)

/** An instant that has its row keeps it. One that is skipped is as unmet as any other, until the run that was in its way has ended well. */
const writeDue = statement(
  'run_write_due',
  z.object({ id: z.string() }),
  `with told as (
     select *
     from jsonb_to_recordset($1::jsonb) as t(id uuid, schedule_id uuid, due_ms float8, expires_ms float8, state text, outcome text,
       reason text, host text, place text)
   ), inserted as (
     insert into schedule_run (id, schedule_id, trigger, due_at, expires_at, state, outcome, reason, host, place, ended_at)
     select id, schedule_id, 'due', to_timestamp(due_ms / 1000), to_timestamp(expires_ms / 1000), state, outcome, reason, host, place,
       case when state = 'ended' then to_timestamp($3::float8 / 1000) end
     from told
     order by schedule_id, due_ms
     on conflict (schedule_id, due_at) where trigger = 'due' do nothing
     returning id, schedule_id, state, outcome, due_at
   ), unmet as (
     select schedule_id, min(due_at) as due_at, bool_or(state = 'waiting') as waits
     from inserted
     group by schedule_id
   ), met as (
     -- Looked up in this: as a join Postgres would compare each with each, and groups are of hundreds.
     select coalesce(jsonb_object_agg(schedule_id, due_at), '{}') as due_at,
       coalesce(jsonb_object_agg(schedule_id, true) filter (where waits), '{}') as waits
     from unmet
   )
   update schedule s
   set ledger_at = to_timestamp(p.ledger_ms / 1000), next_due = to_timestamp(p.next_ms / 1000),
     fire_at = to_timestamp((p.next_ms + s.jitter_ms) / 1000), unmet_at = coalesce(s.unmet_at, (met.due_at ->> s.id::text)::timestamptz),
     code = case
       when met.waits ? s.id::text then 'waiting'
       when p.next_ms is null and not p.active then 'completed'
       else s.code end,
     version = s.version + 1
   from jsonb_to_recordset($2::jsonb) as p(id uuid, ledger_ms float8, next_ms float8, active boolean), met
   where s.id = p.id
   returning s.id`,
)

const lockAhead = claims(
  'run_lock_ahead',
  Planned,
  `select ${PLANNED}
   from schedule
   where ledger_at > to_timestamp($1::float8 / 1000)
   order by ledger_at
   limit $2
   for update skip locked`,
)

/** What was fired stays as a run out of turn; what was not is as if it had never been. */
const rewind = statement(
  'run_rewind',
  z.unknown(),
  `with gone as (
     delete from schedule_run
     where schedule_id = any($1::uuid[]) and trigger = 'due' and due_at > to_timestamp($2::float8 / 1000) and fired_at is null
     returning schedule_id, state
   ), early as (
     update schedule_run
     set trigger = 'early', reason = coalesce(reason, 'the clock was ahead when it was fired')
     where schedule_id = any($1::uuid[]) and trigger = 'due' and due_at > to_timestamp($2::float8 / 1000) and fired_at is not null
   )
   update schedule
   set unmet_at = null, code = case when code in ('waiting', 'completed') and not disabled then 'scheduled' else code end,
     version = version + 1
   where id = any($1::uuid[]) and not exists (
     select 1
     from schedule_run r
     where r.schedule_id = schedule.id and r.state <> 'ended'
       and not (r.trigger = 'due' and r.due_at > to_timestamp($2::float8 / 1000) and r.fired_at is null)
   )`,
)

const lockOldRules = claims(
  'run_lock_old_rules',
  Planned,
  `select ${PLANNED}
   from schedule
   where id in (
     (select id from schedule where zone_rules < $1 order by zone_rules limit $2)
     union all
     (select id from schedule where zone_rules > $1 order by zone_rules limit $2)
   )
   limit $2
   for update skip locked`,
)

const plan = statement(
  'run_plan',
  z.unknown(),
  `update schedule s
   set ledger_at = to_timestamp(p.ledger_ms / 1000), next_due = to_timestamp(p.next_ms / 1000),
     fire_at = to_timestamp((p.next_ms + s.jitter_ms) / 1000), zone_rules = $2
   from jsonb_to_recordset($1::jsonb) as p(id uuid, ledger_ms float8, next_ms float8)
   where s.id = p.id`,
)

/**
 * Those of which nobody can tell when they are due, as their zone is none any more. The instant that has come is told as missed, and raises the
 * alarm; they are looked at again from time to time.
 */
const setAside = statement(
  'run_set_aside',
  z.unknown(),
  `with told as (
     insert into schedule_run (id, schedule_id, trigger, due_at, expires_at, state, outcome, reason, host, place, ended_at)
     select gen_random_uuid(), s.id, 'due', s.next_due, s.next_due, 'ended', 'missed',
       'nobody can tell when it is due: its time zone is not known here', '', ${SLOT_PLACE}, to_timestamp($2::float8 / 1000)
     from schedule s
     where s.id = any($1::uuid[]) and s.unmet_at is null
     on conflict (schedule_id, due_at) where trigger = 'due' do nothing
   )
   update schedule
   set unmet_at = coalesce(unmet_at, next_due), next_due = to_timestamp(($2::float8 + ${ASIDE_MS}) / 1000),
     fire_at = to_timestamp(($2::float8 + ${ASIDE_MS} + jitter_ms) / 1000), version = version + 1
   where id = any($1::uuid[])`,
)

const lockExpired = statement(
  'run_lock_expired',
  z.object({ id: z.string(), state: z.string(), reason: z.string().nullable() }),
  `select r.id, r.state, r.reason
   from schedule s
   join schedule_run r on r.schedule_id = s.id
   where r.state in ('waiting', 'granted') and r.expires_at <= to_timestamp($1::float8 / 1000)
     and (r.state = 'waiting' or r.lease is null or r.lease <= to_timestamp($1::float8 / 1000))
   order by r.expires_at
   limit $2
   for update of s, r skip locked`,
)

/** The ledger as ticks write it. Every row is claimed: many replicas may do all of this at once. */
export interface RunStore {
  /** Schedules that nobody has looked at yet wait for their first run from now on. */
  begin(limit: number): Promise<number>
  /** Lets `decide` look at each schedule some of whose instants have come. @returns how many there were. */
  due(bounds: Bounds, decide: (question: DueQuestion) => DueDecision): Promise<number>
  /** The clock was ahead once: what it wrote of instants that are still to come is taken back. @returns how many schedules. */
  rewind(bounds: Bounds): Promise<number>
  /** Next instants that were found by other rules of zones than ours are found again. @returns how many. */
  replan(limit: number): Promise<number>
  /** Ends runs that have waited too long as missed. @returns how many. */
  expire(bounds: Bounds): Promise<number>
}

export interface Bounds {
  readonly nowMs: number
  readonly limit: number
}

export function createRunStore(sql: Sql): RunStore {
  /** Where nobody can tell the next instant, that which was found before stays: it is seen about when it comes. */
  async function planAgain(tx: Transaction, rows: readonly z.infer<typeof Planned>[], ledger: (ms: number) => number) {
    const plans = rows.map(({ id, recurrence, ledger_ms: ledgerMs, next_ms: beforeMs, disabled }) => {
      const fromMs = ledger(ledgerMs)
      const found = disabled ? undefined : computed(() => nextDue(recurrence, fromMs))
      return { id, ledger_ms: fromMs, next_ms: found === INCOMPUTABLE ? beforeMs : (found ?? null) }
    })
    await tx.rows(plan, [JSON.stringify(plans), process.versions.tz])
    return rows.length
  }

  return {
    begin: async (limit) => (await sql.rows(begin, [limit])).length,

    due: ({ nowMs, limit }, decide) =>
      sql.transaction(async (tx) => {
        const ids = (await tx.rows(lockDue, [nowMs, limit])).map(({ id }) => id)
        if (ids.length === 0) return 0
        const decided = (await tx.rows(readDue, [ids])).flatMap((row) => {
          const question = { recurrence: row.recurrence, ledgerMs: row.ledger_ms, jitterMs: row.jitter_ms, nowMs }
          const active = activeOf(row)
          const decision = computed(() => decide({ ...question, active }))
          return decision === INCOMPUTABLE ? [] : [{ row, active, decision }]
        })
        const told = new Set(decided.map(({ row: { id } }) => id))
        const aside = ids.filter((id) => !told.has(id))
        if (aside.length > 0) await tx.rows(setAside, [aside, nowMs])
        // Before the next runs are written: a schedule has one under way at a time.
        const expired = decided.flatMap(({ decision }) => decision.expire ?? [])
        for (const from of ['waiting', 'granted'])
          await endRuns(
            tx,
            nowMs,
            expired.map((run) => missed(run, from)),
          )
        const rows = decided.flatMap(({ row: { id, host, place }, decision }) =>
          decision.rows.map(({ dueMs, expiresMs, ...rest }) => ({
            ...{ id: newId(), schedule_id: id, due_ms: dueMs, expires_ms: expiresMs, host, place },
            ...rest,
          })),
        )
        const plans = decided.map(({ row: { id }, active, decision }) => ({
          ...{ id, ledger_ms: decision.ledgerMs, next_ms: decision.nextDueMs },
          active: active !== undefined && decision.expire === undefined,
        }))
        await tx.rowsAndCommit(writeDue, [JSON.stringify(rows), JSON.stringify(plans), nowMs])
        return ids.length
      }),

    rewind: ({ nowMs, limit }) =>
      sql.transaction(async (tx) => {
        const found = await tx.rows(lockAhead, [nowMs + AHEAD_MS, limit])
        if (found.length === 0) return 0
        await tx.rows(rewind, [found.map(({ id }) => id), nowMs])
        return planAgain(tx, found, () => nowMs)
      }),

    replan: (limit) =>
      sql.transaction(async (tx) => {
        const found = await tx.rows(lockOldRules, [process.versions.tz, limit])
        return found.length === 0 ? 0 : planAgain(tx, found, (ledgerMs) => ledgerMs)
      }),

    expire: ({ nowMs, limit }) =>
      sql.transaction(async (tx) => {
        const found = await tx.rows(lockExpired, [nowMs, limit])
        const ends = found.map(({ id, state, reason }) => missed({ id, reason: missedBecause(reason) }, state))
        await endRuns(tx, nowMs, ends)
        return found.length
      }),
  }
}

const INCOMPUTABLE = Symbol('incomputable')

/** Rules of zones come with Node: a zone that one of them knew may be unknown to another. */
function computed<Result>(compute: () => Result): Result | typeof INCOMPUTABLE {
  try {
    return compute()
  } catch (error) {
    if (error instanceof RangeError) return INCOMPUTABLE
    throw error
  }
}

function missed({ id, reason }: { readonly id: string; readonly reason: string }, from: string) {
  return { id, from, end: { outcome: 'missed', reason, result: -1 } } as const
}

function activeOf(row: z.infer<(typeof readDue)['row']>): ActiveRun | undefined {
  if (row.run_id === null) return undefined
  const isWaiting = row.run_state !== 'running'
  return { id: row.run_id, isWaiting, expiresMs: row.expires_at?.getTime() ?? 0, reason: row.reason }
}
