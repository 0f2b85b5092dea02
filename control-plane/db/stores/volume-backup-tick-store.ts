import { z } from 'zod'
import type { RetentionPoint } from '../../core/retention.ts'
import { VOLUME_BACKUP_STATUSES } from '../../core/volume-backups.ts'
import { claims, type Sql, statement } from '../sql.ts'
import { refold } from './volume-backup-fold.ts'

const FIRST_WAIT_SECONDS = 5
const LAST_WAIT_SECONDS = 3_600

/** Each comes again later, ever more rarely, unless a job that it waits for ends well. */
const claim = claims(
  'volume_backup_claim',
  z
    .object({
      id: z.string(),
      group_id: z.string(),
      status: z.enum(VOLUME_BACKUP_STATUSES),
      retention: z.number(),
      owes_prune: z.boolean(),
    })
    .transform((row) => ({
      id: row.id,
      groupId: row.group_id,
      status: row.status,
      retention: row.retention,
      owesPrune: row.owes_prune,
    })),
  `update volume_backup
   set looks = looks + 1,
     look_at = now() + make_interval(secs => least(${LAST_WAIT_SECONDS}, ${FIRST_WAIT_SECONDS} * 2 ^ least(looks, 20)))
   where id in (
     select id from volume_backup where look_at <= now() order by look_at limit $1 for update skip locked
   )
   returning id, group_id, status, retention, owes_prune`,
)

/** `p` is the point. */
export const SERIES_POINT_COLUMNS = `p.id, p.status, p.damaged_at is not null as damaged, p.created_at as taken_at, p.chain, p.base_id, p.pinned,
  p.deleting, exists (select 1 from lane_hold l where l.lane = p.id) as in_use`

export const SeriesPointRow = z
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

const readPoints = statement(
  'volume_backup_tick_points',
  SeriesPointRow,
  `select ${SERIES_POINT_COLUMNS}
   from volume_backup b
   join point p on p.series_id = b.series_id
   where b.id = $1
   order by p.name desc`,
)

/** With its series, which nobody else has. */
const drop = statement(
  'volume_backup_drop',
  z.object({ series_id: z.string() }),
  `delete from volume_backup b
   where b.id = $1 and b.deleting and not exists (select 1 from point p where p.series_id = b.series_id)
   returning b.series_id`,
)
const dropSeries = statement(
  'volume_backup_drop_series',
  z.unknown(),
  'delete from point_series s where s.id = $1 and not exists (select 1 from point p where p.series_id = s.id)',
)

const settle = statement(
  'volume_backup_pruned',
  z.unknown(),
  `update volume_backup
   set owes_prune = false, look_at = null
   where id = $1 and status in ('available', 'error')
     and not exists (select 1 from point p where p.series_id = volume_backup.series_id and p.deleting)`,
)

const explain = statement(
  'volume_backup_explain',
  z.unknown(),
  `update volume_backup
   set fail_reason = $2, version = version + 1, updated_at = now()
   where id = $1 and deleting and fail_reason is distinct from $2`,
)

export type SeriesPoint = RetentionPoint & { readonly baseId: string | null; readonly isDeleting: boolean }
export type ClaimedBackup = z.infer<(typeof claim)['row']>

/** Backups that are busy, go, or may lose points. */
export interface VolumeBackupTickStore {
  /** Those whose time has come, each to be looked at once now. */
  claim(limit: number): Promise<readonly ClaimedBackup[]>
  /** Newest first. */
  points(id: string): Promise<readonly SeriesPoint[]>
  refold(id: string): Promise<void>
  /** One that goes and has no points. */
  drop(id: string): Promise<void>
  /** Nothing of it is to be pruned any more. */
  pruned(id: string): Promise<void>
  /** Why one that goes is still there. */
  explain(id: string, reason: string): Promise<void>
}

export function createVolumeBackupTickStore(sql: Sql): VolumeBackupTickStore {
  return {
    claim: (limit) => sql.rows(claim, [limit]),
    points: (id) => sql.rows(readPoints, [id]),
    refold: (id) => sql.transaction((tx) => refold(tx, [id])),

    drop: (id) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(drop, [id])
        if (row) await tx.rows(dropSeries, [row.series_id])
      }),

    async pruned(id) {
      await sql.rows(settle, [id])
    },

    async explain(id, reason) {
      await sql.rows(explain, [id, reason])
    },
  }
}
