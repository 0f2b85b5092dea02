import { z } from 'zod'
import { type Sql, statement } from '../sql.ts'
import { SERIES_POINT_COLUMNS, type SeriesPoint, SeriesPointRow } from './volume-backup-tick-store.ts'

const FIRST_WAIT_SECONDS = 5
const LAST_WAIT_SECONDS = 3_600

/** Each comes again later, ever more rarely, unless a job that it waits for ends. */
const claim = statement(
  'instance_backup_claim',
  z.object({ id: z.string(), group_id: z.string() }).transform(({ id, group_id: groupId }) => ({ id, groupId })),
  `update instance_backup
   set looks = looks + 1,
     look_at = now() + make_interval(secs => least(${LAST_WAIT_SECONDS}, ${FIRST_WAIT_SECONDS} * 2 ^ least(looks, 20)))
   where id in (
     select id from instance_backup where look_at <= now() order by look_at limit $1 for update skip locked
   ) and deleting
   returning id, group_id`,
)

const points = statement(
  'instance_backup_tick_points',
  SeriesPointRow,
  `select ${SERIES_POINT_COLUMNS}
   from instance_backup i
   join point p on p.series_id = i.series_id
   where i.id = $1
   order by p.name desc`,
)

const volumes = statement(
  'instance_backup_tick_volumes',
  z.object({ id: z.string(), status: z.string() }),
  'select id, status from volume_backup where instance_backup_id = $1 order by ordinal',
)

/** With its series, which nobody else has. */
const drop = statement(
  'instance_backup_drop',
  z.object({ series_id: z.string() }),
  `delete from instance_backup i
   where i.id = $1 and i.deleting and not exists (select 1 from point p where p.series_id = i.series_id)
     and not exists (select 1 from volume_backup v where v.instance_backup_id = i.id)
   returning i.series_id`,
)
const dropSeries = statement(
  'instance_backup_drop_series',
  z.unknown(),
  'delete from point_series s where s.id = $1 and not exists (select 1 from point p where p.series_id = s.id)',
)

const explain = statement(
  'instance_backup_explain',
  z.unknown(),
  `update instance_backup
   set fail_reason = $2, version = version + 1, updated_at = now()
   where id = $1 and deleting and fail_reason is distinct from $2`,
)

export interface GoingInstanceBackup {
  readonly id: string
  readonly groupId: string
}

/** Backups of instances that go. */
export interface InstanceBackupTickStore {
  /** Those whose time has come, each to be looked at once now. */
  claim(limit: number): Promise<readonly GoingInstanceBackup[]>
  /** Of the instance itself, newest first. */
  points(id: string): Promise<readonly SeriesPoint[]>
  volumes(id: string): Promise<readonly { readonly id: string; readonly status: string }[]>
  /** One that goes and has no parts. */
  drop(id: string): Promise<void>
  /** Why it is still there. */
  explain(id: string, reason: string): Promise<void>
}

export function createInstanceBackupTickStore(sql: Sql): InstanceBackupTickStore {
  return {
    claim: (limit) => sql.rows(claim, [limit]),
    points: (id) => sql.rows(points, [id]),
    volumes: (id) => sql.rows(volumes, [id]),

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
