import { z } from 'zod'
import type { RetentionPoint } from '../../core/retention.ts'
import { type Sql, statement } from '../sql.ts'

export type SeriesPoint = RetentionPoint & { readonly baseId: string | null; readonly isDeleting: boolean }

const SeriesPointRow = z
  .object({
    id: z.string(),
    status: z.enum(['running', 'good', 'partial', 'failed']),
    damaged: z.boolean(),
    taken_at: z.date(),
    chain: z.array(z.string()),
    base_id: z.string().nullable(),
    pinned: z.boolean(),
    in_use: z.boolean(),
    deleting: z.boolean(),
  })
  .transform(
    (row): SeriesPoint => ({
      id: row.id,
      status: row.status,
      damaged: row.damaged,
      takenAtMs: row.taken_at.getTime(),
      bases: row.chain,
      baseId: row.base_id,
      pinned: row.pinned,
      inUse: row.in_use,
      isDeleting: row.deleting,
    }),
  )

/** What ticks do with the series of a backup, of a volume or of an instance. */
export interface BackupSeries {
  /** Newest first. */
  points(id: string): Promise<readonly SeriesPoint[]>
  /** One that goes and has no parts. */
  drop(id: string): Promise<void>
  /** Why one that goes is still there. */
  explain(id: string, reason: string): Promise<void>
}

/** @param goes more of what must be so before it is dropped; `b` is the backup */
export function createBackupSeries(
  sql: Sql,
  { table, goes = '' }: { readonly table: 'volume_backup' | 'instance_backup'; readonly goes?: string },
): BackupSeries {
  const readPoints = statement(
    `${table}_tick_points`,
    SeriesPointRow,
    `select p.id, p.status, p.damaged_at is not null as damaged, p.created_at as taken_at, p.chain, p.base_id, p.pinned, p.deleting,
       exists (select 1 from lane_hold l where l.lane = p.id) as in_use
     from ${table} b
     join point p on p.series_id = b.series_id
     where b.id = $1
     order by p.name desc`,
  )
  /** With its series, which nobody else has. */
  const drop = statement(
    `${table}_drop`,
    z.object({ series_id: z.string() }),
    `delete from ${table} b
     where b.id = $1 and b.deleting and not exists (select 1 from point p where p.series_id = b.series_id) ${goes}
     returning b.series_id`,
  )
  const dropSeries = statement(
    `${table}_drop_series`,
    z.unknown(),
    'delete from point_series s where s.id = $1 and not exists (select 1 from point p where p.series_id = s.id)',
  )
  const explain = statement(
    `${table}_explain`,
    z.unknown(),
    `update ${table}
     set fail_reason = $2, version = version + 1, updated_at = now()
     where id = $1 and deleting and fail_reason is distinct from $2`,
  )

  return {
    points: (id) => sql.rows(readPoints, [id]),

    drop: (id) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(drop, [id])
        if (row) await tx.rows(dropSeries, [row.series_id])
      }),

    async explain(id, reason) {
      await sql.rows(explain, [id, reason])
    },
  }
}
