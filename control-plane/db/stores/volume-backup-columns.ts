import { z } from 'zod'
import { Progress } from '../../../shared/job-event.ts'
import { percentShown } from '../../core/percent-shown.ts'
import { VOLUME_BACKUP_STATUSES, type VolumeBackupInfo } from '../../core/volume-backups.ts'

const bigint = z.coerce.number()

/** `b`, `t` are backup and target. The progress is of the job that goes on, and looked for only where one does. */
export const BACKUP_COLUMNS = `b.id, b.group_id, b.name, b.volume_id, b.volume, b.project, b.snapshot_id, t.id as target_id, t.name as target_name,
  b.incremental, b.retention, b.status, b.size_bytes, b.stored_bytes, b.fail_reason, b.instance_backup_id, b.points, b.job_id, b.created_at,
  b.updated_at, b.version,
  case when b.status in ('creating', 'restoring') then (select j.progress from job j where j.id = b.job_id) end as progress`
export const BACKUP_JOINS = 'left join target t on t.id = b.target_id'

export const BackupColumns = z
  .object({
    id: z.string(),
    group_id: z.string(),
    name: z.string(),
    volume_id: z.string(),
    volume: z.string(),
    project: z.string().nullable(),
    snapshot_id: z.string().nullable(),
    target_id: z.string().nullable(),
    target_name: z.string().nullable(),
    incremental: z.boolean(),
    retention: z.number(),
    status: z.enum(VOLUME_BACKUP_STATUSES),
    size_bytes: bigint,
    stored_bytes: bigint,
    fail_reason: z.string().nullable(),
    instance_backup_id: z.string().nullable(),
    points: z.array(z.string()),
    job_id: z.string().nullable(),
    created_at: z.date(),
    updated_at: z.date(),
    version: bigint,
    progress: Progress.nullable(),
  })
  .transform((row) => ({
    info: {
      id: row.id,
      groupId: row.group_id,
      name: row.name,
      volumeId: row.volume_id,
      volume: row.volume,
      project: row.project,
      snapshotId: row.snapshot_id,
      target: row.target_id === null ? null : { id: row.target_id, name: row.target_name ?? '' },
      isIncremental: row.incremental,
      retention: row.retention,
      status: row.status,
      sizeBytes: row.size_bytes,
      storedBytes: row.stored_bytes,
      progressPercent: percentOf(row.progress),
      failReason: row.fail_reason,
      instanceBackupId: row.instance_backup_id,
      points: row.points,
      jobId: row.job_id,
      createdAt: row.created_at,
      updatedAt: row.updated_at,
      version: row.version,
    } satisfies VolumeBackupInfo,
  }))

function percentOf(progress: Progress | null): number | null {
  const percent = progress === null ? -1 : percentShown(progress)
  return percent < 0 ? null : percent
}
