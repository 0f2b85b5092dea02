import { z } from 'zod'
import { RETENTION_MAX } from '../../core/volume-backup-requests.ts'
import { VOLUME_BACKUP_STATUSES } from '../../core/volume-backups.ts'

const TEXT_MAX = 255
const LIMIT_MAX = 10_000

/** A wrong one is not found, whatever it looks like. */
export const IdParams = z.object({ id: z.string().meta({ example: '01a1fed2-42cc-7572-a6d1-099861d6e722' }) })

export const Name = z
  .string()
  .min(1, 'must not be empty')
  .max(TEXT_MAX, `must be at most ${TEXT_MAX} characters`)
  .meta({ example: 'nightly' })
const Reference = z.string().min(1, 'must not be empty').max(TEXT_MAX)
export const Target = Reference.nullish().meta({
  description: "A target's id; without one it lies below the host's own backup root",
})

/** What is made, acted on or deleted is told by its id alone. */
const Made = z.object({ id: z.uuid() })
export const BackupMade = z.object({ backup: Made })
export const SnapshotMade = z.object({ snapshot: Made })

export const PageQuery = z.object({
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(LIMIT_MAX)
    .optional()
    .meta({ description: 'Ours: so many at most. Without it the list is whole' }),
  marker: z.string().max(TEXT_MAX).optional().meta({ description: '`next_marker` of the page before' }),
})
export const NextMarker = z.string().optional().meta({ description: 'Where the next page begins, if there is one' })

export const Action = z.object({
  update: z.looseObject({}).nullable().meta({ description: 'Takes the next increment now. It has no arguments yet' }),
})

export const VolumeBackupQuery = PageQuery.extend({
  volume_id: z.string().max(TEXT_MAX).optional(),
  name: z.string().max(TEXT_MAX).optional(),
})

export const CreateVolumeBackupBody = z.object({
  backup: z.object({
    name: Name,
    volume_id: Reference.meta({ description: 'Its id, or `<pool>/<name>`' }),
    snapshot_id: Reference.nullish().meta({ description: 'One of its snapshots: the first point is made of that' }),
    incremental: z.boolean().nullish().meta({ description: 'May be updated; false unless said' }),
    retention: z
      .int()
      .min(0)
      .max(RETENTION_MAX)
      .refine((retention) => retention !== 1, 'must be 0 (all) or at least 2')
      .nullish()
      .meta({ description: 'How many good points stay: 0 (all) unless said, or from 2' }),
    target: Target,
    force: z.boolean().nullish().meta({ description: 'Also of a volume that is in use: as after a power cut' }),
  }),
})

const When = z.iso.datetime().meta({ example: '2026-01-02T03:04:05.678Z' })
export const Whole = z.int().nonnegative()
export const TargetView = z.object({ id: z.uuid(), name: z.string() }).nullable()
export const FailReason = z.string().nullable().meta({ description: 'Why the newest job about it failed' })
export const ProgressView = z
  .int()
  .min(0)
  .max(99)
  .nullable()
  .meta({ description: 'Percent of the job that goes on, where anybody knows' })
export const Status = z.enum(VOLUME_BACKUP_STATUSES)
export const Times = { created_at: When, updated_at: When }

const volumeBackup = {
  id: z.uuid(),
  name: z.string(),
  volume_id: z.uuid(),
  volume: z.string().meta({ description: 'As it was called then', example: 'tank/web' }),
  snapshot_id: z.uuid().nullable(),
  target: TargetView,
  status: Status.meta({ description: '`error`: the newest point is none to restore from; older ones may be' }),
  size: Whole.meta({ description: 'Of the volume at the newest good point, GiB, rounded up; 0 before there is one' }),
  size_bytes: Whole,
  stored_bytes: Whole.meta({ description: 'Of all its points together, where they lie' }),
  is_incremental: z.boolean(),
  has_dependent_backups: z.boolean().meta({ description: 'A backup of an instance rests on it' }),
  instance_backup_id: z.uuid().nullable(),
  retention: Whole,
  point_count: Whole.meta({ description: 'Good ones' }),
  fail_reason: FailReason,
  progress: ProgressView,
  ...Times,
}
export const VolumeBackupView = z.object(volumeBackup)
export type VolumeBackupView = z.infer<typeof VolumeBackupView>
const WholeVolumeBackup = z.object({
  ...volumeBackup,
  points: z.array(z.uuid()).meta({ description: 'Good ones, oldest first: as `/api/v1/points/{id}` knows them' }),
})
export const OneVolumeBackup = z.object({ backup: WholeVolumeBackup })
export const VolumeBackupList = z.object({ backups: z.array(VolumeBackupView), next_marker: NextMarker })

export const BackupErrorBody = z.object({
  error: z.object({
    code: z.number().int().meta({ description: 'The HTTP status', example: 404 }),
    message: z.string().meta({ example: "there is no backup '…'" }),
    blockers: z.array(z.string()).optional().meta({ description: 'What depends on it' }),
  }),
})
