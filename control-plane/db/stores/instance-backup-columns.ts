import { z } from 'zod'
import { Held, InstanceType } from '../../../shared/instance-spec.ts'
import { Progress } from '../../../shared/job-event.ts'
import { instanceBackupState } from '../../core/instance-backup-state.ts'
import type { InstanceBackupInfo } from '../../core/instance-captures.ts'
import { VOLUME_BACKUP_STATUSES } from '../../core/volume-backups.ts'

const bigint = z.coerce.number()

const Point = z.object({
  id: z.string(),
  status: z.enum(['running', 'good', 'partial', 'failed']),
  isGoing: z.boolean(),
  isDamaged: z.boolean(),
  sourceBytes: z.number(),
  consistency: z.enum(['crash', 'fuzzy']).nullable(),
  held: Held.nullable(),
  error: z.string().nullable(),
  problemCount: z.number(),
  progress: Progress.nullable(),
})

const Volume = z.object({
  id: z.string(),
  volumeId: z.string(),
  volume: z.string(),
  sizeBytes: z.number(),
  status: z.enum(VOLUME_BACKUP_STATUSES),
  failReason: z.string().nullable(),
  progress: Progress.nullable(),
})

/** `i`, `t` are backup and target. Of its points only the newest that stays makes a difference. */
export const INSTANCE_BACKUP_COLUMNS = `i.id, i.ordinal, i.group_id, i.name, i.instance_id, i.instance_type, i.instance_name, i.host,
  t.id as target_id, t.name as target_name, i.incremental, i.missing, i.asked_state, i.deleting, i.fail_reason, i.version, i.created_at,
  i.updated_at, i.phase, i.captured, case when i.ordering_until is null then 'no' when i.ordering_until > now() then 'yes' else 'late' end as ordering,
  coalesce((
    select jsonb_agg(jsonb_build_object('id', p.id, 'status', p.status, 'isGoing', false, 'isDamaged', p.damaged_at is not null,
      'sourceBytes', p.source_bytes, 'consistency', p.made ->> 'consistency', 'held', p.made -> 'held', 'error', p.error ->> 'message',
      'problemCount', coalesce((p.made ->> 'problemCount')::bigint, 0),
      'progress', case when p.status = 'running' then (select j.progress from job j where j.id = p.job_id) end))
    from (
      select *
      from point q
      where q.series_id = i.series_id and not q.deleting and q.trashed_at is null
      order by q.name desc
      limit 1
    ) p
  ), '[]') as points,
  coalesce((
    select jsonb_agg(jsonb_build_object('id', v.id, 'volumeId', v.volume_id, 'volume', v.volume, 'sizeBytes', v.size_bytes,
      'status', v.status, 'failReason', v.fail_reason,
      'progress', case when v.status = 'creating' then (select j.progress from job j where j.id = v.job_id) end) order by v.ordinal)
    from volume_backup v
    where v.instance_backup_id = i.id
  ), '[]') as volumes`
export const INSTANCE_BACKUP_FROM = 'from instance_backup i left join target t on t.id = i.target_id'

export const InstanceBackupRow = z
  .object({
    id: z.string(),
    ordinal: bigint,
    group_id: z.string(),
    name: z.string(),
    instance_id: z.string(),
    instance_type: InstanceType,
    instance_name: z.string(),
    host: z.string(),
    target_id: z.string().nullable(),
    target_name: z.string().nullable(),
    incremental: z.boolean(),
    missing: z.array(z.object({ volumeId: z.string(), volume: z.string(), error: z.string() })),
    asked_state: z.string(),
    deleting: z.boolean(),
    fail_reason: z.string().nullable(),
    version: bigint,
    created_at: z.date(),
    updated_at: z.date(),
    phase: z.enum(['snapshot', 'volumes', 'reading', 'ending']).nullable(),
    captured: z.enum(['frozen', 'stopped', 'crash']).nullable(),
    ordering: z.enum(['no', 'yes', 'late']),
    points: z.array(Point),
    volumes: z.array(Volume),
  })
  .transform((row) => {
    const { points, volumes, missing, ordering } = row
    const backup: InstanceBackupInfo = {
      ...{ id: row.id, groupId: row.group_id, name: row.name, instanceId: row.instance_id },
      instance: { type: row.instance_type, name: row.instance_name, host: row.host },
      isIncremental: row.incremental,
      target: row.target_id === null ? null : { id: row.target_id, name: row.target_name ?? '' },
      ...instanceBackupState({
        ...{ points, volumes, missing, ordering },
        ...{ instanceId: row.instance_id, isDeleting: row.deleting, failReason: row.fail_reason },
        ...{ isCapturing: row.phase === 'snapshot' || row.phase === 'volumes', captured: row.captured },
        askedState: row.asked_state,
      }),
      version: row.version,
      createdAt: row.created_at,
      updatedAt: row.updated_at,
    }
    return { ordinal: row.ordinal, backup }
  })
