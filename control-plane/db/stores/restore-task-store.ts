import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { newId } from '../../../shared/ids.ts'
import { Progress } from '../../../shared/job-event.ts'
import { actorOn } from '../../core/audit.ts'
import type { Caller } from '../../core/caller.ts'
import type { RestoreTaskStore } from '../../core/restore-task-operations.ts'
import type { RestoreTask } from '../../core/restore-tasks.ts'
import { SOURCE_TYPES, STATE_CODES } from '../../core/schedules.ts'
import { type Sql, sqlState, statement, type Transaction } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { percentOf, Result } from './schedule-columns.ts'
import { numberCursor } from './schedule-reads.ts'

const FOREIGN_KEY_VIOLATION = '23503'

const TaskRow = z
  .object({
    id: z.string(),
    number: z.coerce.number(),
    group_id: z.string(),
    name: z.string(),
    type: z.enum(SOURCE_TYPES),
    container: z.string(),
    host: z.string().nullable(),
    start: z.boolean(),
    target_id: z.string().nullable(),
    target_number: z.coerce.number().nullable(),
    target_name: z.string().nullable(),
    path: z.string(),
    portfolio: z.string(),
    disabled: z.boolean(),
    code: z.enum(STATE_CODES),
    result: Result.nullable(),
    reason: z.string().nullable(),
    point_id: z.string().nullable(),
    job_id: z.string().nullable(),
    progress: Progress.nullable(),
    started_at: z.date().nullable(),
    ended_at: z.date().nullable(),
    version: z.coerce.number(),
    created_at: z.date(),
  })
  .transform(
    (row): RestoreTask => ({
      id: row.id,
      number: row.number,
      groupId: row.group_id,
      name: row.name,
      type: row.type,
      container: row.container,
      host: row.host,
      start: row.start,
      source: {
        target:
          row.target_id === null
            ? null
            : { id: row.target_id, number: row.target_number ?? 0, name: row.target_name ?? '' },
        path: row.path,
        portfolio: row.portfolio,
      },
      disabled: row.disabled,
      state: {
        code: row.code,
        result: row.result,
        lastRun: row.started_at ?? row.ended_at,
        start: row.started_at,
        end: row.ended_at,
        progress: percentOf(row.code, row.progress),
        reason: row.reason,
      },
      pointId: row.point_id,
      jobId: row.job_id,
      createdAt: row.created_at,
      version: row.version,
    }),
  )

const SELECT = `select r.id, r.number, r.group_id, r.name, r.type, r.container, r.host, r.start, r.target_id, t.number as target_number,
     t.name as target_name, r.path, r.portfolio, r.disabled, r.code, r.result, r.reason, r.point_id, r.job_id, j.progress, r.started_at,
     r.ended_at, r.version, r.created_at
   from restore_task r
   left join target t on t.id = r.target_id
   left join job j on j.id = r.job_id`

const byId = statement('restore_task_by_id', TaskRow, `${SELECT} where r.id = $1`)

const find = statement(
  'restore_task_find',
  TaskRow,
  `${SELECT} where r.group_id = $1 and (r.id = $2::uuid or r.number = $3::bigint)`,
)

const list = statement(
  'restore_task_list',
  TaskRow,
  `${SELECT}
   where r.group_id = $1 and r.number > $2
   order by r.number
   limit $3`,
)

const insert = statement(
  'restore_task_insert',
  z.unknown(),
  `insert into restore_task (id, group_id, name, type, container, host, target_id, path, directory, portfolio, disabled, expires_at, start)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, to_timestamp($12::float8 / 1000), $13)`,
)

const lock = statement(
  'restore_task_lock',
  z.object({ code: z.string(), job_id: z.string().nullable() }),
  'select code, job_id from restore_task where id = $1 and version = $2 for update',
)

const stopWaiting = statement(
  'restore_task_stop_waiting',
  z.unknown(),
  `update restore_task
   set code = 'completed', result = -2, reason = 'somebody stopped it', stopped_by = $3, ended_at = to_timestamp($2::float8 / 1000),
     version = version + 1
   where id = $1`,
)

const markStopped = statement(
  'restore_task_mark_stopped',
  z.unknown(),
  'update restore_task set stopped_by = coalesce(stopped_by, $2) where id = $1',
)

const remove = statement('restore_task_delete', z.unknown(), 'delete from restore_task where id = $1')

export function createRestoreTaskStore(sql: Sql): RestoreTaskStore {
  return {
    async find(groupId, id) {
      const number = /^\d{1,15}$/.test(id) ? id : null
      if (number === null && !z.uuid().safeParse(id).success) return undefined
      const [task] = await sql.rows(find, [groupId, number === null ? id : null, number])
      return task
    },

    async list(groupId, { limit, cursor }) {
      const rows = await sql.rows(list, [groupId, numberCursor(cursor), limit + 1])
      const items = rows.slice(0, limit)
      const last = items.at(-1)
      return { items, nextCursor: rows.length > limit && last ? String(last.number) : null }
    },

    create: (caller, values) =>
      sql
        .transaction(async (tx) => {
          const id = newId()
          const { name, type, container, host, targetId, path, directory, portfolio, disabled, expiresMs, start } =
            values
          const source = [targetId, path, directory, portfolio, disabled, expiresMs, start]
          await tx.rows(insert, [id, caller.groupId, name, type, container, host, ...source])
          const [task] = await tx.rows(byId, [id])
          if (task === undefined) throw new FleetError('internal', 'internal error', { detail: 'restore not written' })
          await told(tx, caller, 'restore.create', task)
          return task
        })
        .catch((error: unknown) => {
          if (sqlState(error) !== FOREIGN_KEY_VIOLATION) throw error
          throw new FleetError('conflict', 'its group or target was removed a moment ago', { cause: error })
        }),

    stop: (caller, task, atMs) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(lock, [task.id, task.version])
        if (row === undefined) return undefined
        const isRunning = row.code === 'running'
        if (isRunning) await tx.rows(markStopped, [task.id, caller.subject])
        else await tx.rows(stopWaiting, [task.id, atMs, caller.subject])
        await told(tx, caller, 'restore.stop', task)
        return { jobId: isRunning ? row.job_id : null }
      }),

    delete: (caller, task) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(lock, [task.id, task.version])
        if (row === undefined) return undefined
        await tx.rows(remove, [task.id])
        await told(tx, caller, 'restore.delete', task)
        return true as const
      }),
  }
}

function told(tx: Transaction, caller: Caller, operation: string, task: RestoreTask): Promise<void> {
  const object = { kind: 'restore', id: task.id, name: task.name }
  return writeAudit(tx, [{ by: actorOn(task.groupId, caller), operation, object, result: 'done' }])
}
