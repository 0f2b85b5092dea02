import { z } from 'zod'
import { actorOn } from '../../core/audit.ts'
import { MAX_MOVES, MOVE_AGAIN_SECONDS, type PointMove } from '../../core/point-trash.ts'
import type { RetentionDecision } from '../../core/retention.ts'
import { taskCaller } from '../../core/schedule-sources.ts'
import { type KeptForPrune, PRUNE_LIMIT, type SeriesPoint } from '../../core/schedule-store.ts'
import { SOURCE_TYPES } from '../../core/schedules.ts'
import { type Sql, statement } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { isDue } from './is-due.ts'
import { KeptAt, Result } from './schedule-columns.ts'
import { readSeriesPoints, seriesDirectory } from './schedule-reads.ts'

/** So many tries double the time to the next one. */
const SLOWEST_AFTER = 10
/** A deletion that did not succeed is tried again then. */
const AGAIN_MS = 3_600_000

const lockOwed = statement(
  'prune_lock_owed',
  z.object({
    run_id: z.string(),
    id: z.string(),
    number: z.coerce.number(),
    group_id: z.string(),
    name: z.string(),
    type: z.enum(SOURCE_TYPES),
    target_id: z.string().nullable(),
    directory: z.string(),
    retention: z.number(),
    at: KeptAt,
    timezone: z.string(),
    result: Result.nullable(),
  }),
  `select r.id as run_id, s.id, s.number, s.group_id, s.name, s.type, s.target_id, s.directory, s.retention, s.at, s.timezone, s.result
   from schedule s
   join schedule_run r on r.schedule_id = s.id
   where r.owes_prune
   order by r.id
   limit 1
   offset $1
   for update of s, r skip locked`,
)

/** No order builds on points of these meanwhile. */
const lockSeries = statement(
  'prune_lock_series',
  z.object({ id: z.string() }),
  `select id
   from point_series
   where group_id = $1 and directory = $2 and target_id is not distinct from $3
   order by id
   for update`,
)

const lockPoints = statement(
  'prune_lock_points',
  z.unknown(),
  'select id from point where series_id = any($1::uuid[]) order by id for update',
)

const trash = statement(
  'prune_trash',
  z.object({ id: z.string() }),
  `update point
   set trashed_at = to_timestamp($2::float8 / 1000), purge_at = to_timestamp($3::float8 / 1000), version = version + 1,
     move_at = case when status <> 'failed' then to_timestamp($2::float8 / 1000) end, moves = 0
   where id = any($1::uuid[])
   returning id`,
)

const settle = statement('prune_settle', z.unknown(), 'update schedule_run set owes_prune = false where id = $1')

/** What others are restored from comes after them. */
const purgeable = statement(
  'prune_purgeable',
  z.object({ id: z.string(), group_id: z.string() }),
  `update point
   set purge_at = to_timestamp(($1::float8 + ${AGAIN_MS}) / 1000)
   where id in (
     select p.id
     from point p
     where p.trashed_at is not null and p.purge_at <= to_timestamp($1::float8 / 1000) and not p.deleting and not p.pinned
       and not p.wanted_back
       and not exists (select 1 from point d where d.base_id = p.id)
     order by p.purge_at
     limit $2
     for update skip locked
   )
   returning id, group_id`,
)

/**
 * Not while somebody has the point: another order of the same, or who reads it. What is restored from others goes before them, and comes
 * back after them.
 */
const movable = statement(
  'prune_movable',
  z.object({ id: z.string(), group_id: z.string(), wanted_back: z.boolean(), name: z.string() }),
  `update point
   set moves = moves + 1,
     move_at = to_timestamp($1::float8 / 1000 + least(${MOVE_AGAIN_SECONDS.most}, ${MOVE_AGAIN_SECONDS.first} * 2 ^ least(moves, ${SLOWEST_AFTER})))
   where id in (
     select p.id
     from point p
     where ${isDue('p.move_at', 'to_timestamp($1::float8 / 1000)')} and p.moves < ${MAX_MOVES} and not p.deleting
       and (p.wanted_back or p.purge_at > to_timestamp($1::float8 / 1000))
       and not exists (select 1 from lane_hold l where l.lane = p.id)
     order by p.move_at, case when p.wanted_back then p.name end, p.name desc
     limit $2
     for update skip locked
   )
   returning id, group_id, wanted_back, name`,
)

/** As if that try had not been, once what follows one is waited for as long as can be. */
const unplaced = statement(
  'prune_unplaced',
  z.unknown(),
  `update point set moves = moves - 1 where id = $1 and moves > ${SLOWEST_AFTER} and wanted_back = $2`,
)

export interface PruneStore {
  /**
   * Lets `decide` look at the points of one schedule whose run was good, and hides those that go until `purgeMs`.
   * @param at `skip`: so many of those that owe it are left out.
   * @returns how many went; undefined when there is no such schedule.
   */
  prune(
    at: { readonly nowMs: number; readonly purgeMs: number; readonly skip: number },
    decide: (schedule: KeptForPrune, points: readonly SeriesPoint[]) => RetentionDecision,
  ): Promise<number | undefined>
  /** Points whose undo window is over; each is claimed for an hour. */
  purgeable(bounds: {
    readonly nowMs: number
    readonly limit: number
  }): Promise<readonly { readonly id: string; readonly groupId: string }[]>
  /** Points that are owed a move to the trash or back, in the order in which they move; none is told again for a minute or more. */
  movable(bounds: {
    readonly nowMs: number
    readonly limit: number
  }): Promise<readonly { readonly id: string; readonly groupId: string; readonly kind: PointMove }[]>
  /** Nothing was ordered for it, as its host is away: that is none of the tries that a point has. */
  unplaced(id: string, kind: PointMove): Promise<void>
}

export function createPruneStore(sql: Sql): PruneStore {
  return {
    prune: ({ nowMs, purgeMs, skip }, decide) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(lockOwed, [skip])
        if (row === undefined) return undefined
        const { run_id: runId, group_id: groupId, target_id: targetId, result, ...schedule } = row
        const place = [groupId, seriesDirectory(row.directory, row.name), targetId]
        const series = await tx.rows(lockSeries, place)
        await tx.rows(lockPoints, [series.map(({ id }) => id)])
        const points = await tx.rows(readSeriesPoints, place)
        const gone = decide({ ...schedule, state: { result } }, points).delete.slice(0, PRUNE_LIMIT)
        if (gone.length > 0) await tx.rows(trash, [gone.map(({ id }) => id), nowMs, purgeMs])
        await tx.rows(settle, [runId])
        const by = actorOn(groupId, taskCaller({ ...schedule, groupId, kind: 'schedule' }))
        await writeAudit(
          tx,
          gone.map(({ id, rule, why }) => {
            const object = { kind: 'point', id, name: points.find((point) => point.id === id)?.name ?? null }
            return { by, operation: 'point.prune', object, result: 'done', detail: { rule, why, schedule: row.number } }
          }),
        )
        return gone.length
      }),

    purgeable: async ({ nowMs, limit }) =>
      (await sql.rows(purgeable, [nowMs, limit])).map(({ id, group_id: groupId }) => ({ id, groupId })),

    async movable({ nowMs, limit }) {
      const rows = (await sql.rows(movable, [nowMs, limit])).toSorted((a, b) => (a.name < b.name ? -1 : 1))
      const back = rows.filter((row) => row.wanted_back)
      const out = rows.filter((row) => !row.wanted_back).toReversed()
      return [...back, ...out].map(({ id, group_id: groupId, wanted_back: isReturning }) => {
        return { id, groupId, kind: isReturning ? 'point.untrash' : 'point.trash' }
      })
    },

    async unplaced(id, kind) {
      await sql.rows(unplaced, [id, kind === 'point.untrash'])
    },
  }
}
