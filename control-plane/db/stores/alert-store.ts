import { z } from 'zod'
import { newId } from '../../../shared/ids.ts'
import type { ScheduleEventBody, UnnumberedEvent } from '../../core/event-body.ts'
import { claims, type Sql, statement, type Transaction } from '../sql.ts'
import { type Committed, readWritten, writeChanges, writeValues } from './change-write.ts'
import { isDue } from './is-due.ts'

/** A delivery that nobody finished is another replica's after so long. */
const LEASE_SECONDS = 60
const KEPT_DAYS = 30

const AlarmRow = z.object({
  id: z.string(),
  number: z.coerce.number(),
  group_id: z.string(),
  name: z.string(),
  unmet_at: z.date().nullable(),
  reason: z.string().nullable(),
})

/** What its newest run came to, or waits for. */
const NEWEST_REASON = `(
     select coalesce(r.reason, r.outcome)
     from schedule_run r
     where r.schedule_id = s.id
     order by r.due_at desc, r.ordinal desc
     limit 1
   )`

/**
 * Why the run that is under way tells nothing, where nobody has worked on it since `$1`; else null. The job of a host that is lost goes back to
 * the queue, and may stay there for good; a point that was made may wait long for whoever verifies it.
 */
const STUCK_REASON = `(
     select case when j.finished_at is null then 'its run does not go on: nobody on host ''' || r.host || ''' works on it'
       else 'its point is made, and nobody has begun to verify it' end
     from schedule_run r
     join job j on j.id = coalesce(r.verify_job_id, r.job_id)
     where r.schedule_id = s.id and r.state = 'running' and j.state not in ('running', 'cancelling')
       and coalesce(j.finished_at, case when j.started_at is null then j.created_at else j.heard_at end) <= to_timestamp($1::float8 / 1000)
   )`

const about = (reason: string) => `s.id, s.number, s.group_id, s.name, s.unmet_at, ${reason} as reason`

/** A run that an agent works on will tell how it went. */
const lockOverdue = statement(
  'alert_lock_overdue',
  AlarmRow,
  `select ${about(`coalesce(${STUCK_REASON}, ${NEWEST_REASON})`)}
   from schedule s
   where s.unmet_at <= to_timestamp($1::float8 / 1000)
     and s.unmet_at <= to_timestamp($1::float8 / 1000) - make_interval(secs => s.jitter_ms / 1000.0) and not s.overdue
     and not s.disabled and (s.code <> 'running' or ${STUCK_REASON} is not null)
   order by s.unmet_at
   limit $2
   for update of s skip locked`,
)

const lockRecovered = statement(
  'alert_lock_recovered',
  AlarmRow,
  `select ${about(NEWEST_REASON)}
   from schedule s
   where s.overdue and (s.unmet_at is null or s.disabled)
   order by s.id
   limit $1
   for update of s skip locked`,
)

const overdueOne = statement(
  'alert_overdue_one',
  AlarmRow,
  `select ${about(NEWEST_REASON)} from schedule s where s.id = $1 and s.overdue`,
)

const mark = statement('alert_mark', z.unknown(), 'update schedule set overdue = $2 where id = any($1::uuid[])')

const keep = statement(
  'alert_keep',
  z.unknown(),
  `insert into alert (id, body) select id, body from jsonb_to_recordset($1::jsonb) as a(id uuid, body json)`,
)

const count = statement(
  'alert_count',
  z.object({ n: z.coerce.number() }),
  'select count(*) as n from schedule where overdue',
)

const Delivery = z.object({ id: z.string(), body: z.string(), attempts: z.number() })
export type Delivery = z.infer<typeof Delivery>

const claim = claims(
  'alert_claim',
  Delivery,
  `update alert
   set attempts = attempts + 1, next_at = now() + make_interval(secs => ${LEASE_SECONDS})
   where id in (
     select id
     from alert
     where delivered_at is null and given_up_at is null and ${isDue('next_at')}
     order by next_at
     limit $1
     for update skip locked
   )
   returning id, body::text as body, attempts`,
)

const delivered = statement(
  'alert_delivered',
  z.unknown(),
  'update alert set delivered_at = now(), error = null where id = $1 and delivered_at is null',
)

const undelivered = statement(
  'alert_undelivered',
  z.unknown(),
  `update alert
   set error = $2, next_at = now() + make_interval(secs => coalesce($3::float8, 0)), given_up_at = case when $3 is null then now() end
   where id = $1 and delivered_at is null`,
)

const prune = statement(
  'alert_prune',
  z.unknown(),
  `delete from alert
   where id in (select id from alert where created_at < now() - make_interval(days => ${KEPT_DAYS}) order by created_at limit 1000)`,
)

/** Schedules that are overdue: told once when they become so, and once when they no longer are. */
export interface AlertStore {
  /** @param graceMs from a due instant to the alarm. @param webhook whether deliveries are kept. @returns undefined when nothing was to be told. */
  raise(at: {
    readonly nowMs: number
    readonly graceMs: number
    readonly limit: number
    readonly webhook: boolean
  }): Promise<Committed | undefined>
  /** How many schedules are overdue. */
  overdue(): Promise<number>
  claim(limit: number): Promise<readonly Delivery[]>
  delivered(id: string): Promise<void>
  /** @param againSeconds null: it is given up. */
  undelivered(id: string, error: string, againSeconds: number | null): Promise<void>
  prune(): Promise<void>
}

/** @param origin tells this replica's notifications from the others'. */
export function createAlertStore(sql: Sql, origin: string): AlertStore {
  return {
    raise: ({ nowMs, graceMs, limit, webhook }) =>
      sql.transaction(async (tx) => {
        const overdue = await tx.rows(lockOverdue, [nowMs - graceMs, limit])
        const recovered = await tx.rows(lockRecovered, [limit])
        if (overdue.length + recovered.length === 0) return undefined
        await tx.rows(mark, [overdue.map(({ id }) => id), true])
        await tx.rows(mark, [recovered.map(({ id }) => id), false])
        const events = [
          ...overdue.map((row) => eventOf(row, 'overdue')),
          ...recovered.map((row) => eventOf(row, 'recovered')),
        ]
        return tell(tx, events, { at: new Date(nowMs).toISOString(), origin, webhook })
      }),

    overdue: async () => (await sql.rows(count, []))[0]?.n ?? 0,

    claim: (limit) => sql.rows(claim, [limit]),

    async delivered(id) {
      await sql.rows(delivered, [id])
    },

    async undelivered(id, error, againSeconds) {
      await sql.rows(undelivered, [id, error, againSeconds])
    },

    async prune() {
      await sql.rows(prune, [])
    },
  }
}

/** The last of a transaction. */
async function tell(
  tx: Transaction,
  events: readonly UnnumberedEvent[],
  { at, origin, webhook }: { readonly at: string; readonly origin: string; readonly webhook: boolean },
): Promise<Committed> {
  if (webhook) {
    const alerts = events.map(({ type, groupId, body }) => {
      const id = newId()
      return { id, body: { id, type, at, group_id: groupId, ...body } }
    })
    await tx.rows(keep, [JSON.stringify(alerts)])
  }
  const group = { changes: [], events, origin }
  const [answer] = await tx.rowsAndCommit(writeChanges, writeValues(group, at))
  return readWritten(group, answer, at)
}

/** The alarm of a schedule that goes: nobody would ever tell that it is over. */
export interface LastAlarm {
  /** Of one that is locked; undefined: it has none. @returns what tells that it is over, as the last of the transaction */
  of(tx: Transaction, scheduleId: string): Promise<(() => Promise<void>) | undefined>
}

export function createLastAlarm(webhook: boolean): LastAlarm {
  return {
    async of(tx, scheduleId) {
      const [row] = await tx.rows(overdueOne, [scheduleId])
      if (row === undefined) return undefined
      return async () => {
        // Of nobody's: this replica reads it as the others do.
        await tell(tx, [eventOf(row, 'recovered')], { at: new Date().toISOString(), origin: '', webhook })
      }
    },
  }
}

function eventOf(row: z.infer<typeof AlarmRow>, state: ScheduleEventBody['state']): UnnumberedEvent {
  const { id, number, name, unmet_at: unmetAt, reason } = row
  const dueAt = unmetAt?.toISOString() ?? null
  const body = { schedule: number, schedule_id: id, name, state, due_at: dueAt, reason }
  return { type: `schedule.${state}`, jobId: null, groupId: row.group_id, body }
}
