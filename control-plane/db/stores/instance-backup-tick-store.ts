import { z } from 'zod'
import type { InstanceBackupInfo } from '../../core/instance-captures.ts'
import { claims, type Sql, statement } from '../sql.ts'
import { type BackupSeries, createBackupSeries } from './backup-series.ts'
import { isDue } from './is-due.ts'
import { ORDERING_SECONDS } from './order-instance-backups.ts'

const FIRST_WAIT_SECONDS = 1
const LAST_WAIT_SECONDS = 3_600
const CAPTURE_WAIT_SECONDS = 30

/**
 * Each comes again later, ever more rarely, unless a job that it waits for ends. While its volumes are ordered it is left to whoever does
 * that: two would order them twice.
 */
const claim = claims(
  'instance_backup_claim',
  z
    .object({
      id: z.string(),
      group_id: z.string(),
      deleting: z.boolean(),
      phase: z.enum(['snapshot', 'volumes', 'reading', 'ending']).nullable(),
      snapshot_id: z.string().nullable(),
      looks: z.number(),
    })
    .transform((row) => ({
      id: row.id,
      groupId: row.group_id,
      isDeleting: row.deleting,
      phase: row.phase,
      snapshotId: row.snapshot_id,
      looks: row.looks,
    })),
  `update instance_backup
   set looks = looks + 1,
     look_at = now() + make_interval(secs => case when phase = 'volumes' then ${ORDERING_SECONDS} else least(case when deleting then ${LAST_WAIT_SECONDS} else ${CAPTURE_WAIT_SECONDS} end,
       ${FIRST_WAIT_SECONDS} * 2 ^ least(looks, 20)) end)
   where id in (
     select id from instance_backup where ${isDue('look_at')} order by look_at limit $1 for update skip locked
   ) and (deleting or phase is not null)
   returning id, group_id, deleting, phase, snapshot_id, looks`,
)

const captured = statement(
  'instance_backup_captured',
  z.unknown(),
  'update instance_backup set captured = $2 where id = $1',
)

const turn = statement(
  'instance_backup_turn',
  z.unknown(),
  `update instance_backup
   set phase = $3, fail_reason = coalesce($4, fail_reason), version = version + 1, updated_at = now(), looks = 0,
     look_at = case when deleting or $3::text is not null then now() end
   where id = $1 and phase = $2`,
)

const volumes = statement(
  'instance_backup_tick_volumes',
  z.object({ id: z.string(), status: z.string() }),
  'select id, status from volume_backup where instance_backup_id = $1 order by ordinal',
)

export type DueInstanceBackup = z.infer<(typeof claim)['row']>
type Phase = NonNullable<DueInstanceBackup['phase']>

/** Backups of instances that go, or that a snapshot is taken for. */
export interface InstanceBackupTickStore extends BackupSeries {
  /** Those whose time has come, each to be looked at once now. */
  claim(limit: number): Promise<readonly DueInstanceBackup[]>
  /** What its parts are read from is of one instant, or not. */
  captured(id: string, consistency: InstanceBackupInfo['consistency']): Promise<void>
  /** @param reason why its parts could not be ordered */
  turn(id: string, from: Phase, to: Phase | null, reason?: string): Promise<void>
  volumes(id: string): Promise<readonly { readonly id: string; readonly status: string }[]>
}

const ALL_ELSE_IS_GONE = `and b.phase is null and not exists (select 1 from volume_backup v where v.instance_backup_id = b.id)`

export function createInstanceBackupTickStore(sql: Sql): InstanceBackupTickStore {
  return {
    ...createBackupSeries(sql, { table: 'instance_backup', goes: ALL_ELSE_IS_GONE }),
    claim: (limit) => sql.rows(claim, [limit]),

    async captured(id, consistency) {
      await sql.rows(captured, [id, consistency])
    },

    async turn(id, from, to, reason) {
      await sql.rows(turn, [id, from, to, reason ?? null])
    },

    volumes: (id) => sql.rows(volumes, [id]),
  }
}
