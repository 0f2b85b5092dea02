import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { actorOn } from '../../core/audit.ts'
import { backupDirectory } from '../../core/point-series.ts'
import { RUN_OUTCOMES, type ScheduleRun } from '../../core/runs.ts'
import type { ScheduleStore, SeriesPoint } from '../../core/schedule-store.ts'
import { type Sql, statement } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { SCHEDULE_COLUMNS, SCHEDULE_JOINS, ScheduleRow } from './schedule-columns.ts'

const find = statement(
  'schedule_find',
  ScheduleRow,
  `select ${SCHEDULE_COLUMNS}
   from schedule s
   ${SCHEDULE_JOINS}
   where s.group_id = $1 and (s.id = $2::uuid or s.number = $3::bigint)`,
)

const list = statement(
  'schedule_list',
  ScheduleRow,
  `select ${SCHEDULE_COLUMNS}
   from schedule s
   ${SCHEDULE_JOINS}
   where s.group_id = $1 and s.number > $2
   order by s.number
   limit $3`,
)

const RunRow = z
  .object({
    id: z.string(),
    ordinal: z.coerce.number(),
    schedule_id: z.string(),
    trigger: z.enum(['due', 'manual', 'early']),
    due_at: z.date(),
    state: z.enum(['waiting', 'granted', 'running', 'ended']),
    outcome: z.enum(RUN_OUTCOMES).nullable(),
    reason: z.string().nullable(),
    host: z.string(),
    job_id: z.string().nullable(),
    point_id: z.string().nullable(),
    verify_job_id: z.string().nullable(),
    fired_at: z.date().nullable(),
    ended_at: z.date().nullable(),
  })
  .transform((row): ScheduleRun & { readonly ordinal: number } => ({
    id: row.id,
    ordinal: row.ordinal,
    scheduleId: row.schedule_id,
    trigger: row.trigger,
    dueAt: row.due_at,
    state: row.state === 'granted' ? 'waiting' : row.state,
    outcome: row.outcome,
    reason: row.reason,
    host: row.host === '' ? null : row.host,
    jobId: row.job_id,
    pointId: row.point_id,
    verifyJobId: row.verify_job_id,
    firedAt: row.fired_at,
    endedAt: row.ended_at,
  }))

/** Newest first. Each filter is null when it was not asked for. */
const runs = statement(
  'schedule_runs',
  RunRow,
  `select id, ordinal, schedule_id, trigger, due_at, state, outcome, reason, host, job_id, point_id, verify_job_id, fired_at, ended_at
   from schedule_run
   where schedule_id = $1
     and ($2::float8 is null or (due_at, ordinal) < (to_timestamp($2::float8 / 1000), $3::bigint))
     and ($4::text is null or outcome = $4)
     and ($5::timestamptz is null or due_at >= $5)
     and ($6::timestamptz is null or due_at <= $6)
   order by due_at desc, ordinal desc
   limit $7`,
)

/** Those of every host, where they lie on hosts. The day of a point is that of the instant it was made for. */
export const readSeriesPoints = statement(
  'schedule_series_points',
  z
    .object({
      id: z.string(),
      name: z.string(),
      status: z.enum(['running', 'good', 'partial', 'failed']),
      damaged: z.boolean(),
      taken_at: z.date(),
      chain: z.array(z.string()),
      pinned: z.boolean(),
      in_use: z.boolean(),
      trashed_at: z.date().nullable(),
      purge_at: z.date().nullable(),
      wanted_back: z.boolean(),
    })
    .transform(
      (row): SeriesPoint => ({
        id: row.id,
        name: row.name,
        status: row.status,
        damaged: row.damaged,
        takenAtMs: row.taken_at.getTime(),
        bases: row.chain,
        pinned: row.pinned,
        inUse: row.in_use,
        trashedAt: row.trashed_at,
        purgeAt: row.purge_at,
        isReturning: row.wanted_back,
      }),
    ),
  `select p.id, p.name, p.status, p.damaged_at is not null as damaged, coalesce(r.due_at, p.created_at) as taken_at, p.chain, p.pinned,
     exists (select 1 from lane_hold l where l.lane = p.id) as in_use, p.trashed_at, p.purge_at, p.wanted_back
   from point_series s
   join point p on p.series_id = s.id
   left join schedule_run r on r.id = p.run_id
   where s.group_id = $1 and s.directory = $2 and s.target_id is not distinct from $3 and not p.deleting
   order by p.name`,
)

/** With those that it rests on. */
const undelete = statement(
  'schedule_undelete_point',
  z.object({ id: z.string(), name: z.string(), is_trashed: z.boolean(), deleting: z.boolean() }),
  `select id, name, trashed_at is not null as is_trashed, deleting
   from point
   where group_id = $1 and id in (select $2::uuid union all select unnest(chain) from point where group_id = $1 and id = $2::uuid)
   order by id
   for update`,
)

/** Of a failed one nothing was moved, and nothing comes back. */
const untrash = statement(
  'schedule_untrash_point',
  z.unknown(),
  `update point
   set pinned = pinned or id = $2::uuid, version = version + 1, moves = 0,
     wanted_back = status <> 'failed',
     move_at = case when status <> 'failed' then to_timestamp($3::float8 / 1000) end,
     trashed_at = case when status <> 'failed' then trashed_at end,
     purge_at = case when status <> 'failed' then purge_at end
   where id = any($1::uuid[])`,
)

const tasksOf = statement(
  'schedule_tasks_of',
  z.object({ job_id: z.string(), kind: z.enum(['backup', 'restore']), number: z.coerce.number() }),
  `select r.job_id, 'backup' as kind, s.number
   from schedule_run r
   join schedule s on s.id = r.schedule_id
   where r.job_id = any($2::uuid[]) and s.group_id = $1
   union all
   select r.verify_job_id, 'backup', s.number
   from schedule_run r
   join schedule s on s.id = r.schedule_id
   where r.verify_job_id = any($2::uuid[]) and s.group_id = $1
   union all
   select job_id, 'restore', number
   from restore_task
   where job_id = any($2::uuid[]) and group_id = $1`,
)

const YEARS_END = 10_000
const isId = (id: string) => z.uuid().safeParse(id).success

type Reads = Pick<ScheduleStore, 'find' | 'list' | 'runs' | 'seriesPoints' | 'undelete' | 'tasksOf'>

export function createScheduleReads(sql: Sql): Reads {
  return {
    async find(groupId, id) {
      const number = /^\d{1,15}$/.test(id) ? id : null
      if (number === null && !isId(id)) return undefined
      const [schedule] = await sql.rows(find, [groupId, number === null ? id : null, number])
      return schedule
    },

    async list(groupId, { limit, cursor }) {
      const rows = await sql.rows(list, [groupId, numberCursor(cursor), limit + 1])
      const items = rows.slice(0, limit)
      const last = items.at(-1)
      return { items, nextCursor: rows.length > limit && last ? String(last.number) : null }
    },

    async runs(scheduleId, { outcome, since, until }, { limit, cursor }) {
      const from = runCursor(cursor)
      const filter = [outcome ?? null, since ?? null, until ?? null]
      const rows = await sql.rows(runs, [scheduleId, ...from, ...filter, limit + 1])
      const shown = rows.slice(0, limit)
      const last = shown.at(-1)
      const nextCursor = rows.length > limit && last ? `${last.dueAt.getTime()}.${last.ordinal}` : null
      return { items: shown.map(({ ordinal: _, ...run }) => run), nextCursor }
    },

    seriesPoints: ({ groupId, targetId, directory, name }) =>
      sql.rows(readSeriesPoints, [groupId, seriesDirectory(directory, name), targetId]),

    undelete: (caller, pointId, nowMs) =>
      sql.transaction(async (tx) => {
        const { groupId } = caller
        const found = isId(pointId) ? await tx.rows(undelete, [groupId, pointId]) : []
        const point = found.find(({ id }) => id === pointId.toLowerCase())
        if (point === undefined) throw new FleetError('not_found', `there is no point '${pointId}'`)
        if (point.deleting) throw new FleetError('conflict', 'the point is being deleted')
        if (!point.is_trashed) throw new FleetError('conflict', 'retention has not deleted the point')
        const wanted = found.filter(({ is_trashed: isTrashed, deleting }) => isTrashed && !deleting)
        await tx.rows(untrash, [wanted.map(({ id }) => id), point.id, nowMs])
        const object = { kind: 'point', id: point.id, name: point.name }
        await writeAudit(tx, [{ by: actorOn(groupId, caller), operation: 'point.undelete', object, result: 'done' }])
      }),

    async tasksOf(groupId, jobIds) {
      const rows = await sql.rows(tasksOf, [groupId, jobIds.filter(isId)])
      return rows.map(({ job_id: jobId, kind, number }) => ({ jobId, kind, number }))
    },
  }
}

/** Below the target's base. */
export function seriesDirectory(directory: string, name: string): string {
  return directory === '' ? backupDirectory(name) : `${directory}/${backupDirectory(name)}`
}

/** @throws invalid. */
export function numberCursor(cursor: string | undefined): string {
  if (cursor === undefined) return '0'
  if (/^\d{1,15}$/.test(cursor)) return cursor
  throw new FleetError('invalid', 'cursor: is not one that this server gave', { field: 'cursor' })
}

/** @throws invalid. */
function runCursor(cursor: string | undefined): readonly [string | null, string | null] {
  if (cursor === undefined) return [null, null]
  const parts = /^(-?\d{1,15})\.(\d{1,18})$/.exec(cursor)
  // What lies beyond is no time to Postgres.
  const year = new Date(Number(parts?.[1])).getUTCFullYear()
  if (parts === null || !(year > 0 && year < YEARS_END))
    throw new FleetError('invalid', 'cursor: is not one that this server gave', { field: 'cursor' })
  return [parts[1] ?? null, parts[2] ?? null]
}
