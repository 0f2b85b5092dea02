import assert from 'node:assert/strict'
import { z } from 'zod'
import type { Decision, LockedPoint, Order, PointFindings } from '../../core/orders.ts'
import { statement, type Transaction } from '../sql.ts'

const POINT_STATUS = z.enum(['running', 'good', 'partial', 'failed'])

const LockedPointRow = z
  .object({
    id: z.string(),
    group_id: z.string(),
    series_id: z.string(),
    series: z.string(),
    name: z.string(),
    host_id: z.string(),
    host: z.string(),
    target_id: z.string().nullable(),
    status: POINT_STATUS,
    deleting: z.boolean(),
    is_trashed: z.boolean(),
    wanted_back: z.boolean(),
    is_damaged: z.boolean(),
    pinned: z.boolean(),
    encrypted: z.boolean(),
    sums_sha256: z.string().nullable(),
    chain: z.array(z.string()),
    version: z.coerce.number(),
  })
  .transform(
    (row): LockedPoint => ({
      id: row.id,
      groupId: row.group_id,
      seriesId: row.series_id,
      series: row.series,
      name: row.name,
      hostId: row.host_id,
      host: row.host,
      targetId: row.target_id,
      status: row.status,
      isDeleting: row.deleting,
      isTrashed: row.is_trashed,
      isReturning: row.wanted_back,
      isDamaged: row.is_damaged,
      pinned: row.pinned,
      encrypted: row.encrypted,
      sumsSha256: row.sums_sha256,
      chain: row.chain,
      version: row.version,
    }),
  )

/** Two orders of one series take turns from here on. */
const lockSeries = statement(
  'order_lock_series',
  z.unknown(),
  `insert into point_series (id, group_id, target_id, host_id, directory)
   select id, group_id, target_id, host_id, directory
   from jsonb_to_recordset($1::jsonb) as s(id uuid, group_id uuid, target_id uuid, host_id uuid, directory text)
   order by id
   on conflict (id) do update set directory = excluded.directory`,
)

/** Those that were `wanted`. */
const LOCKED = `select p.id, p.group_id, p.series_id, s.directory as series, p.name, p.host_id, h.name as host, s.target_id, p.status, p.deleting,
     p.trashed_at is not null as is_trashed, p.wanted_back,
     p.damaged_at is not null as is_damaged, p.pinned, coalesce((p.made ->> 'encrypted')::boolean, false) as encrypted,
     p.made ->> 'sumsSha256' as sums_sha256, p.chain, p.version
   from point p
   join point_series s on s.id = p.series_id
   join host h on h.id = p.host_id
   where p.id in (select id from wanted)
   order by p.id
   for update of p`

/**
 * Those named, what they complete, what completes them, the newest of the series (of all, and of those that are good), and those of it
 * that are damaged.
 */
const lockPoints = statement(
  'order_lock_points',
  LockedPointRow,
  `with named as (
     select id, chain from point where group_id = $1 and id = any($2::uuid[])
   ), newest as (
     (select id, chain from point where series_id = $3 order by name desc limit 1)
     union
     (select id, chain from point
      where series_id = $3 and status = 'good' and not deleting and trashed_at is null and damaged_at is null
      order by name desc
      limit 1)
   ), damaged as (
     select id from point
     where series_id = $3 and damaged_at is not null and not deleting
     order by name desc
     limit 100
   ), wanted as (
     select id from named
     union select unnest(chain) from named
     union select p.id from named join point p on p.base_id = named.id
     union select id from newest
     union select unnest(chain) from newest
     union select id from damaged
   )
   ${LOCKED}`,
)

/** The same of many series, for orders that name no points. */
const lockPointsOfSeries = statement(
  'order_lock_points_of_series',
  LockedPointRow,
  `with series as (
     select unnest($1::uuid[]) as id
   ), newest as (
     select p.id, p.chain
     from series
     cross join lateral (
       (select id, chain from point where series_id = series.id order by name desc limit 1)
       union
       (select id, chain from point
        where series_id = series.id and status = 'good' and not deleting and trashed_at is null and damaged_at is null
        order by name desc
        limit 1)
     ) p
   ), damaged as (
     select p.id
     from series
     cross join lateral (
       select id from point
       where series_id = series.id and damaged_at is not null and not deleting
       order by name desc
       limit 100
     ) p
   ), wanted as (
     select id from newest
     union select unnest(chain) from newest
     union select id from damaged
   )
   ${LOCKED}`,
)

/** Locks the series of orders that have one. Comes before datasets are locked. */
export async function lockSeriesOf(tx: Transaction, orders: readonly Order[]): Promise<void> {
  const rows = orders.flatMap(({ groupId, points }) => {
    const series = points?.series
    if (series === undefined) return []
    const hostId = series.targetId === null ? series.hostId : null
    return {
      id: series.id,
      group_id: groupId,
      target_id: series.targetId,
      host_id: hostId,
      directory: series.directory,
    }
  })
  if (rows.length > 0) await tx.rows(lockSeries, [JSON.stringify(rows)])
}

/**
 * Locks what orders read of points: of one order, or of several that name none. Comes after datasets, as in every transaction
 * that locks both.
 */
export async function lockPointsOf(
  tx: Pick<Transaction, 'rows'>,
  orders: readonly Pick<Order, 'groupId' | 'points'>[],
): Promise<(order: Pick<Order, 'points'>) => PointFindings> {
  const [first] = orders
  if (first === undefined) return () => NO_POINTS
  const ids = orders.flatMap(({ points }) => points?.ids ?? []).filter((id) => z.uuid().safeParse(id).success)
  const series = orders.flatMap(({ points }) => points?.series?.id ?? [])
  assert(orders.length === 1 || ids.length === 0, 'orders that name points are decided one at a time')
  const found =
    orders.length === 1
      ? await tx.rows(lockPoints, [first.groupId, ids, series[0] ?? null])
      : await tx.rows(lockPointsOfSeries, [series])
  return ({ points }) => findingsOf(found, points?.series?.id)
}

function findingsOf(found: readonly LockedPoint[], seriesId: string | undefined): PointFindings {
  const named = (id: string) => found.find((point) => point.id === id)
  const inSeries = found.filter((point) => point.seriesId === seriesId).toSorted((a, b) => (a.name < b.name ? 1 : -1))
  return {
    withPointId: named,
    dependants: (id) => found.filter((point) => point.chain.at(-1) === id && point.status !== 'failed'),
    newest: () => inSeries[0],
    newestGood: () => inSeries.find(isGood),
    damaged: () => inSeries.filter(({ isDamaged, isDeleting }) => isDamaged && !isDeleting),
  }
}

export const NO_POINTS: PointFindings = {
  withPointId: () => undefined,
  dependants: () => [],
  newest: () => undefined,
  newestGood: () => undefined,
  damaged: () => [],
}

function isGood(point: LockedPoint): boolean {
  return point.status === 'good' && !point.isDeleting && !point.isTrashed && !point.isDamaged
}

/** A point to insert, as the statement's record. */
export function pointValues(order: Order, jobId: string, decision: Decision) {
  const { point, host, subject } = decision
  if (point === undefined || !('create' in point)) return []
  const { id, name, source, chain, fullReason, scheduleId } = point.create
  return [
    {
      job_id: jobId,
      id,
      group_id: order.groupId,
      series_id: order.points?.series?.id,
      host_id: host.id,
      name,
      source,
      dataset_id: source.kind === 'dataset' ? subject?.id : null,
      base_id: chain.at(-1) ?? null,
      chain,
      full_reason: fullReason,
      schedule_id: scheduleId,
      run_id: order.task?.kind === 'run' ? order.task.id : null,
    },
  ]
}

/** The columns of `pointValues`. */
export const POINT_RECORD =
  'job_id uuid, id uuid, group_id uuid, series_id uuid, host_id uuid, name text, source jsonb, dataset_id uuid, base_id uuid, chain uuid[], full_reason text, schedule_id uuid, run_id uuid'
