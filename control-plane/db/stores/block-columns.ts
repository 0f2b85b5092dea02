import { z } from 'zod'
import type { BlockSnapshotRow, BlockVolumeRow } from '../../core/block-store.ts'
import { ATTACHMENT, AttachmentColumns } from './block-attachment-columns.ts'

const GIB = 2 ** 30
const bigint = z.coerce.number()
const Metadata = z.record(z.string(), z.string())
const Status = z.enum([
  'creating',
  'available',
  'reserved',
  'attaching',
  'detaching',
  'in-use',
  'deleting',
  'error',
  'error_deleting',
  'extending',
  'restoring-backup',
  'reverting',
])

/** What goes on on its lane, what it is claimed for, how its deletion ended, where its clients are with it: the first of these that is so. */
const VOLUME_STATUS = `case when v.state <> 'available' then v.state else coalesce(
    (select case j.kind when 'volume.resize' then 'extending' when 'volume.rollback' then 'reverting' else 'restoring-backup' end
     from lane_hold l
     join job j on j.id = l.job_id
     where l.lane = v.lane and l.exclusive and j.kind in ('volume.resize', 'volume.rollback', 'volume.restore')
     order by l.job_ordinal
     limit 1),
    case when b.claimed_until > now() then b.claim end,
    (select 'error_deleting' from job j where j.id = b.delete_job_id and j.state in ('failed', 'cancelled')),
    b.phase,
    case a.furthest when 'attached' then 'in-use' else coalesce(a.furthest, 'available') end
  ) end`

/** Volumes that stand, are made or go; and those that nobody could make. One nobody has said anything about has its name in the fleet. */
const STANDING_VOLUMES = `select v.id, v.group_id, v.path, h.name as host, p.name as pool, p.id as pool_id, v.size_bytes, v.created_at, b.updated_at, v.origin,
    v.version + coalesce(b.version, 0) as version, ${VOLUME_STATUS} as status, b.phase, false as is_unmade,
    case when b.id is null then substr(v.path, strpos(v.path, '/') + 1) else b.name end as name,
    b.description, coalesce(b.metadata, '{}') as metadata, b.snapshot_id, b.source_volume_id, b.backup_id,
    coalesce(b.is_bootable, false) as is_bootable, coalesce(b.is_readonly, false) as is_readonly,
    coalesce(a.attachments, '[]') as attachments
  from volume v
  join pool p on p.id = v.pool_id
  join host h on h.id = p.host_id
  left join block_volume b on b.id = v.id
  left join lateral (
    select json_agg(${ATTACHMENT} order by t.created_at, t.id) as attachments,
      case when bool_or(t.state = 'attached') then 'attached' when bool_or(t.state = 'attaching') then 'attaching' else min(t.state) end
        as furthest
    from volume_attachment t
    where t.volume_id = v.id
  ) a on true`
const UNMADE_VOLUMES = `select b.id, b.group_id, b.path, b.host, b.pool, null::uuid as pool_id, b.size_bytes, b.created_at, b.updated_at, null::text as origin,
    b.version, 'error' as status, b.phase, true as is_unmade, b.name, b.description, b.metadata, b.snapshot_id, b.source_volume_id,
    b.backup_id, b.is_bootable, b.is_readonly, '[]'::json as attachments
  from block_volume b
  where not exists (select 1 from volume v where v.id = b.id)`
export const BLOCK_VOLUMES = [STANDING_VOLUMES, UNMADE_VOLUMES] as const

export const BlockVolumeColumns = z
  .object({
    id: z.string(),
    group_id: z.string(),
    path: z.string(),
    host: z.string(),
    pool: z.string(),
    pool_id: z.string().nullable(),
    size_bytes: bigint,
    created_at: z.date(),
    updated_at: z.date().nullable(),
    origin: z.string().nullable(),
    version: bigint,
    status: Status,
    phase: z.enum(['attaching', 'detaching']).nullable(),
    is_unmade: z.boolean(),
    name: z.string().nullable(),
    description: z.string().nullable(),
    metadata: Metadata,
    snapshot_id: z.string().nullable(),
    source_volume_id: z.string().nullable(),
    backup_id: z.string().nullable(),
    is_bootable: z.boolean(),
    is_readonly: z.boolean(),
    attachments: z.array(AttachmentColumns),
  })
  .transform(
    (row): BlockVolumeRow => ({
      id: row.id,
      groupId: row.group_id,
      path: row.path,
      host: row.host,
      pool: row.pool,
      poolId: row.pool_id,
      sizeGib: Math.ceil(row.size_bytes / GIB),
      createdAt: row.created_at,
      updatedAt: row.updated_at,
      origin: row.origin,
      version: row.version,
      status: row.status,
      phase: row.phase,
      isUnmade: row.is_unmade,
      name: row.name,
      description: row.description,
      metadata: row.metadata,
      snapshotId: row.snapshot_id,
      sourceVolumeId: row.source_volume_id,
      backupId: row.backup_id,
      isBootable: row.is_bootable,
      isReadonly: row.is_readonly,
      attachments: row.attachments,
    }),
  )

const STANDING_SNAPSHOTS = `select s.id, s.group_id, s.volume_id, s.path, s.name as own_name, s.size_bytes, s.created_at, b.updated_at,
    s.version + coalesce(b.version, 0) as version, b.id is not null as is_described, false as is_unmade,
    case when s.state = 'available' and exists (select 1 from job j where j.id = b.delete_job_id and j.state in ('failed', 'cancelled'))
      then 'error_deleting' else s.state end as status,
    case when b.id is null then s.name else b.name end as name, b.description, coalesce(b.metadata, '{}') as metadata
  from volume_snapshot s
  left join block_snapshot b on b.id = s.id`
const UNMADE_SNAPSHOTS = `select b.id, b.group_id, b.volume_id, b.path, split_part(b.path, '@', 2) as own_name, b.size_bytes, b.created_at,
    b.updated_at, b.version, true as is_described, true as is_unmade, 'error' as status, b.name, b.description, b.metadata
  from block_snapshot b
  where not exists (select 1 from volume_snapshot s where s.id = b.id)`
export const BLOCK_SNAPSHOTS = [STANDING_SNAPSHOTS, UNMADE_SNAPSHOTS] as const

export const BlockSnapshotColumns = z
  .object({
    id: z.string(),
    group_id: z.string(),
    volume_id: z.string(),
    path: z.string(),
    own_name: z.string(),
    size_bytes: bigint,
    created_at: z.date(),
    updated_at: z.date().nullable(),
    version: bigint,
    is_described: z.boolean(),
    is_unmade: z.boolean(),
    status: z.enum(['creating', 'available', 'deleting', 'error', 'error_deleting']),
    name: z.string().nullable(),
    description: z.string().nullable(),
    metadata: Metadata,
  })
  .transform(
    (row): BlockSnapshotRow => ({
      id: row.id,
      groupId: row.group_id,
      volumeId: row.volume_id,
      path: row.path,
      ownName: row.own_name,
      sizeGib: Math.ceil(row.size_bytes / GIB),
      createdAt: row.created_at,
      updatedAt: row.updated_at,
      version: row.version,
      isDescribed: row.is_described,
      isUnmade: row.is_unmade,
      status: row.status,
      name: row.name,
      description: row.description,
      metadata: row.metadata,
    }),
  )
