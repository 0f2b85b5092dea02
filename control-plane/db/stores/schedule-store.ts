import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { newId } from '../../../shared/ids.ts'
import { actorOn } from '../../core/audit.ts'
import type { Caller } from '../../core/caller.ts'
import type { KeptSchedule, ScheduleStore, ScheduleValues } from '../../core/schedule-store.ts'
import { type Sql, sqlState, statement, type Transaction } from '../sql.ts'
import type { LastAlarm } from './alert-store.ts'
import { writeAudit } from './audit-write.ts'
import { SCHEDULE_COLUMNS, SCHEDULE_JOINS, ScheduleRow, SLOT_HOST, SLOT_PLACE } from './schedule-columns.ts'
import { createScheduleReads } from './schedule-reads.ts'

const UNIQUE_VIOLATION = '23505'
const FOREIGN_KEY_VIOLATION = '23503'

const byId = statement(
  'schedule_by_id',
  ScheduleRow,
  `select ${SCHEDULE_COLUMNS} from schedule s ${SCHEDULE_JOINS} where s.id = $1`,
)

const insert = statement(
  'schedule_insert',
  z.unknown(),
  `insert into schedule (id, group_id, name, type, container, host, target_id, path, directory, at, recurrence, timezone, disabled,
     retention, features, code, ledger_at, next_due, fire_at, jitter_ms, zone_rules)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, to_timestamp($17::float8 / 1000),
     to_timestamp($18::float8 / 1000), to_timestamp(($18::float8 + $19::integer) / 1000), $19, $20)`,
)

/** Without a new beginning (`$18`) the ledger goes on as it was. */
const update = statement(
  'schedule_update',
  z.object({ id: z.string() }),
  `update schedule
   set name = $3, type = $4, container = $5, host = $6, target_id = $7, path = $8, directory = $9, at = $10, recurrence = $11,
     timezone = $12, disabled = $13, retention = $14, features = $15, code = $16,
     ledger_at = case when $18::float8 is null then ledger_at else to_timestamp($18::float8 / 1000) end,
     next_due = case when $18 is null then next_due else to_timestamp($19::float8 / 1000) end,
     fire_at = case when $18 is null then fire_at else to_timestamp(($19 + jitter_ms) / 1000) end,
     unmet_at = case when $18 is null then unmet_at end,
     zone_rules = $17, version = version + 1, updated_at = now()
   where id = $1 and version = $2
   returning id`,
)

const lock = statement(
  'schedule_lock',
  z.object({ id: z.string() }),
  'select id from schedule where id = $1 and version = $2 for update',
)

const remove = statement('schedule_delete', z.unknown(), 'delete from schedule where id = $1')

const startRun = statement(
  'schedule_start_run',
  z.object({ id: z.string() }),
  `with started as (
     insert into schedule_run (id, schedule_id, trigger, due_at, expires_at, state, host, place)
     select $2, s.id, 'manual', to_timestamp($3::float8 / 1000), to_timestamp($4::float8 / 1000), 'waiting', ${SLOT_HOST}, ${SLOT_PLACE}
     from schedule s
     where s.id = $1
     returning schedule_id
   )
   update schedule
   set code = 'waiting', version = version + 1
   where id in (select schedule_id from started)
   returning id`,
)

const lockActive = statement(
  'schedule_lock_active',
  z.object({ id: z.string(), state: z.string(), job_id: z.string().nullable() }),
  `select id, state, coalesce(verify_job_id, job_id) as job_id
   from schedule_run
   where schedule_id = $1 and state <> 'ended'
   for update`,
)

const stopWaiting = statement(
  'schedule_stop_waiting',
  z.unknown(),
  `with stopped as (
     update schedule_run
     set state = 'ended', outcome = 'stopped', reason = $3, stopped_by = $4, ended_at = to_timestamp($2::float8 / 1000), lease = null
     where id = $1
     returning schedule_id
   )
   update schedule
   set code = case when disabled or next_due is null then 'completed' else 'scheduled' end, result = -2,
     last_run = to_timestamp($2::float8 / 1000), unmet_at = null, version = version + 1
   where id in (select schedule_id from stopped)`,
)

const markStopped = statement(
  'schedule_mark_stopped',
  z.unknown(),
  'update schedule_run set stopped_by = coalesce(stopped_by, $2) where id = $1',
)

export function createScheduleStore(sql: Sql, alarms: LastAlarm): ScheduleStore {
  async function kept(tx: Transaction, id: string): Promise<KeptSchedule> {
    const [schedule] = await tx.rows(byId, [id])
    if (schedule === undefined) throw new FleetError('internal', 'internal error', { detail: 'schedule not written' })
    return schedule
  }

  return {
    ...createScheduleReads(sql),

    create: (caller, values) =>
      named(values, () =>
        sql.transaction(async (tx) => {
          const id = newId()
          const { ledger } = values
          await tx.rows(insert, [
            id,
            caller.groupId,
            ...columnsOf(values),
            ledger?.ledgerMs ?? 0,
            ledger?.nextDueMs ?? null,
            ledger?.jitterMs ?? 0,
            process.versions.tz,
          ])
          const schedule = await kept(tx, id)
          await told(tx, caller, { operation: 'schedule.create', schedule })
          return schedule
        }),
      ),

    change: (caller, schedule, values, fields) =>
      named(values, () =>
        sql.transaction(async (tx) => {
          const { id, version } = schedule
          const { ledger } = values
          const dues = [process.versions.tz, ledger?.ledgerMs ?? null, ledger?.nextDueMs ?? null]
          const [row] = await tx.rows(update, [id, version, ...columnsOf(values), ...dues])
          if (row === undefined) return undefined
          await told(tx, caller, { operation: 'schedule.update', schedule, detail: { fields } })
          return kept(tx, id)
        }),
      ),

    delete: (caller, schedule) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(lock, [schedule.id, schedule.version])
        if (row === undefined) return undefined
        const tellOver = await alarms.of(tx, schedule.id)
        await tx.rows(remove, [schedule.id])
        await told(tx, caller, { operation: 'schedule.delete', schedule })
        await tellOver?.()
        return true as const
      }),

    startRun: (caller, schedule, { atMs, expiresMs }) =>
      sql
        .transaction(async (tx) => {
          const [row] = await tx.rows(lock, [schedule.id, schedule.version])
          if (row === undefined) return undefined
          await tx.rows(startRun, [schedule.id, newId(), atMs, expiresMs])
          await told(tx, caller, { operation: 'schedule.run', schedule })
          return true as const
        })
        .catch((error: unknown) => {
          if (sqlState(error) !== UNIQUE_VIOLATION) throw error
          throw new FleetError('conflict', 'the backup is under way already', { cause: error })
        }),

    stopRun: (caller, schedule, atMs) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(lock, [schedule.id, schedule.version])
        if (row === undefined) return undefined
        const [run] = await tx.rows(lockActive, [schedule.id])
        if (run === undefined) return { jobId: null }
        const isRunning = run.state === 'running'
        if (isRunning) await tx.rows(markStopped, [run.id, caller.subject])
        else await tx.rows(stopWaiting, [run.id, atMs, 'somebody stopped it while it waited', caller.subject])
        await told(tx, caller, { operation: 'schedule.stop', schedule, detail: { run: run.id } })
        return { jobId: isRunning ? run.job_id : null }
      }),
  }
}

/** `$3` to `$15` of an insert, and to `$16` of both. */
function columnsOf(values: ScheduleValues): readonly unknown[] {
  return [
    values.name,
    values.type,
    values.container,
    values.host,
    values.targetId,
    values.path,
    values.directory,
    JSON.stringify(values.at),
    JSON.stringify(values.recurrence),
    values.timezone,
    values.disabled,
    values.retention,
    values.features,
    values.code,
  ]
}

function told(
  tx: Transaction,
  caller: Caller,
  what: {
    readonly operation: string
    readonly schedule: KeptSchedule
    readonly detail?: Readonly<Record<string, unknown>>
  },
): Promise<void> {
  const { operation, schedule, detail } = what
  const object = { kind: 'schedule', id: schedule.id, name: schedule.name }
  return writeAudit(tx, [{ by: actorOn(schedule.groupId, caller), operation, object, result: 'done', detail }])
}

/** @throws exists, conflict. */
async function named<Result>({ name }: ScheduleValues, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    if (sqlState(error) === UNIQUE_VIOLATION) {
      throw new FleetError('exists', `there is a backup '${name}' at that place already`, {
        field: 'name',
        cause: error,
      })
    }
    if (sqlState(error) !== FOREIGN_KEY_VIOLATION) throw error
    throw new FleetError('conflict', 'its group or target was removed a moment ago', { cause: error })
  }
}
