import { z } from 'zod'
import { VOLUME_BACKUP_STATUSES } from '../../core/volume-backups.ts'
import { claims, type Sql, statement } from '../sql.ts'
import { type BackupSeries, createBackupSeries } from './backup-series.ts'
import { isDue } from './is-due.ts'
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
     select id from volume_backup where ${isDue('look_at')} order by look_at limit $1 for update skip locked
   )
   returning id, group_id, status, retention, owes_prune`,
)

const settle = statement(
  'volume_backup_pruned',
  z.unknown(),
  `update volume_backup
   set owes_prune = false, look_at = null
   where id = $1 and status in ('available', 'error')
     and not exists (select 1 from point p where p.series_id = volume_backup.series_id and p.deleting)`,
)

export type ClaimedBackup = z.infer<(typeof claim)['row']>

/** Backups that are busy, go, or may lose points. */
export interface VolumeBackupTickStore extends BackupSeries {
  /** Those whose time has come, each to be looked at once now. */
  claim(limit: number): Promise<readonly ClaimedBackup[]>
  refold(id: string): Promise<void>
  /** Nothing of it is to be pruned any more. */
  pruned(id: string): Promise<void>
}

export function createVolumeBackupTickStore(sql: Sql): VolumeBackupTickStore {
  return {
    ...createBackupSeries(sql, { table: 'volume_backup' }),
    claim: (limit) => sql.rows(claim, [limit]),
    refold: (id) => sql.transaction((tx) => refold(tx, [id])),

    async pruned(id) {
      await sql.rows(settle, [id])
    },
  }
}
