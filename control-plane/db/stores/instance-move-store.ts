import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { newId } from '../../../shared/ids.ts'
import { InstanceType } from '../../../shared/instance-spec.ts'
import { Progress } from '../../../shared/job-event.ts'
import { actorOn } from '../../core/audit.ts'
import type { Caller } from '../../core/caller.ts'
import type { InstanceMoveStore } from '../../core/instance-move-operations.ts'
import { type InstanceMove, MOVE_OUTCOMES, MOVE_PHASES } from '../../core/instance-moves.ts'
import { percentShown } from '../../core/percent-shown.ts'
import { type Sql, sqlState, statement, type Transaction } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { numberCursor } from './schedule-reads.ts'

const FOREIGN_KEY_VIOLATION = '23503'
const UNIQUE_VIOLATION = '23505'

const MoveRow = z
  .object({
    id: z.string(),
    number: z.coerce.number(),
    group_id: z.string(),
    instance_id: z.string(),
    type: InstanceType,
    name: z.string(),
    from_host: z.string(),
    to_host: z.string(),
    to_pool: z.string().nullable(),
    target_id: z.string().nullable(),
    target_name: z.string().nullable(),
    made_instance_id: z.string().nullable(),
    phase: z.enum(MOVE_PHASES),
    outcome: z.enum(MOVE_OUTCOMES).nullable(),
    reason: z.string().nullable(),
    waiting: z.string().nullable(),
    job_id: z.string().nullable(),
    progress: Progress.nullable(),
    stopped_by: z.string().nullable(),
    down_ms: z.coerce.number().nullable(),
    created_at: z.date(),
    ended_at: z.date().nullable(),
    version: z.coerce.number(),
  })
  .transform(
    (row): InstanceMove => ({
      id: row.id,
      number: row.number,
      groupId: row.group_id,
      instance: { id: row.instance_id, type: row.type, name: row.name, host: row.from_host },
      to: { host: row.to_host, pool: row.to_pool, instanceId: row.made_instance_id },
      target: row.target_id === null ? null : { id: row.target_id, name: row.target_name ?? '' },
      phase: row.phase,
      outcome: row.outcome,
      reason: row.waiting ?? row.reason,
      progress: row.job_id === null ? null : percentShown(row.progress),
      jobId: row.job_id,
      downtimeMs: row.down_ms,
      isStopping: row.stopped_by !== null,
      createdAt: row.created_at,
      endedAt: row.ended_at,
      version: row.version,
    }),
  )

const SELECT = `select m.id, m.number, m.group_id, m.instance_id, m.type, m.name, m.from_host, m.to_host, m.to_pool, m.target_id,
     t.name as target_name, m.made_instance_id, m.phase, m.outcome, m.reason, m.waiting, m.job_id, j.progress, m.stopped_by,
     case when m.was_running then round(1000 * extract(epoch from m.up_at - m.down_at)) end as down_ms, m.created_at, m.ended_at, m.version
   from instance_move m
   left join target t on t.id = m.target_id
   left join job j on j.id = m.job_id`

const find = statement(
  'instance_move_find',
  MoveRow,
  `${SELECT} where m.id = $2 and ($1::uuid is null or m.group_id = $1)`,
)

const list = statement(
  'instance_move_list',
  MoveRow,
  `${SELECT}
   where ($1::uuid is null or m.group_id = $1) and ($2::bigint = 0 or m.number < $2) and ($3::uuid is null or m.instance_id = $3)
     and (not $4::boolean or m.ended_at is null)
   order by m.number desc
   limit $5`,
)

const insert = statement(
  'instance_move_insert',
  z.unknown(),
  `insert into instance_move (id, group_id, instance_id, type, name, from_host, to_host, to_pool, target_id, start, step_id, asked_by)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
)

const lock = statement(
  'instance_move_lock',
  z.object({ phase: z.enum(MOVE_PHASES), job_id: z.string().nullable(), unsure: z.boolean() }),
  'select phase, job_id, unsure from instance_move where id = $1 and version = $2 for update',
)

const markStopped = statement(
  'instance_move_mark_stopped',
  z.unknown(),
  'update instance_move set stopped_by = coalesce(stopped_by, $2), lease = null, version = version + 1 where id = $1',
)

export function createInstanceMoveStore(sql: Sql): InstanceMoveStore {
  return {
    async find(groupId, id) {
      return z.uuid().safeParse(id).success ? (await sql.rows(find, [groupId, id]))[0] : undefined
    },

    async list(groupId, { instance, open = false }, { limit, cursor }) {
      if (instance !== undefined && !z.uuid().safeParse(instance).success) return { items: [], nextCursor: null }
      const rows = await sql.rows(list, [groupId, numberCursor(cursor), instance ?? null, open, limit + 1])
      const items = rows.slice(0, limit)
      const last = items.at(-1)
      return { items, nextCursor: rows.length > limit && last ? String(last.number) : null }
    },

    create: (caller, instance, to) =>
      sql
        .transaction(async (tx) => {
          const id = newId()
          const { type, name, host, groupId } = instance
          const where = [type, name, host, to.host, to.pool, to.targetId, to.start]
          await tx.rows(insert, [id, groupId, instance.id, ...where, newId(), caller.subject])
          const [move] = await tx.rows(find, [groupId, id])
          if (move === undefined)
            throw new FleetError('internal', 'internal error', { detail: 'migration not written' })
          await told(tx, caller, 'instance.migrate', move)
          return move
        })
        .catch((error: unknown) => {
          const state = sqlState(error)
          const { name } = instance
          if (state === UNIQUE_VIOLATION) throw new FleetError('conflict', `'${name}' is being migrated already`)
          if (state !== FOREIGN_KEY_VIOLATION) throw error
          throw new FleetError('conflict', 'its group or target was removed a moment ago', { cause: error })
        }),

    stop: (caller, move) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(lock, [move.id, move.version])
        if (row === undefined) return undefined
        if (row.phase === 'switch' && (row.job_id !== null || row.unsure)) {
          throw new FleetError('conflict', `it is too late: '${move.instance.name}' is being started on its new host`)
        }
        await tx.rows(markStopped, [move.id, caller.subject])
        await told(tx, caller, 'instance.migrate.stop', move)
        return { jobId: row.job_id }
      }),
  }
}

function told(tx: Transaction, caller: Caller, operation: string, move: InstanceMove): Promise<void> {
  const { id, name, host } = move.instance
  const detail = { migration: move.id, from: host, to: move.to.host }
  const object = { kind: 'instance', id, name }
  return writeAudit(tx, [{ by: actorOn(move.groupId, caller), operation, object, result: 'done', detail }])
}
