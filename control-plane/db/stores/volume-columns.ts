import { z } from 'zod'
import { DriverName } from '../../../shared/wire/messages.ts'
import type { ExportRow, VolumeRow, VolumeSnapshotRow } from '../../core/volume-book.ts'

/** bigint arrives as text. */
const bigint = z.coerce.number()
const State = z.enum(['creating', 'available', 'deleting'])

/** `v`, `p`, `h` are volume, pool and host. */
export const VOLUME_COLUMNS = `v.id, v.group_id, v.path, v.lane, v.size_bytes, v.state, v.device, v.guid, v.origin, v.created_at, v.version,
  p.id as pool_id, p.name as pool, p.local_name as local_pool, p.driver, h.id as host_id, h.name as host`
export const VOLUME_JOINS = 'join pool p on p.id = v.pool_id join host h on h.id = p.host_id'

export const VolumeColumns = z
  .object({
    id: z.string(),
    group_id: z.string(),
    path: z.string(),
    lane: z.string(),
    size_bytes: bigint,
    state: State,
    device: z.string().nullable(),
    guid: z.string().nullable(),
    origin: z.string().nullable(),
    created_at: z.date(),
    version: bigint,
    pool_id: z.string(),
    pool: z.string(),
    local_pool: z.string(),
    driver: DriverName,
    host_id: z.string(),
    host: z.string(),
  })
  .transform(
    (row): VolumeRow => ({
      id: row.id,
      groupId: row.group_id,
      path: row.path,
      lane: row.lane,
      sizeBytes: row.size_bytes,
      state: row.state,
      device: row.device,
      guid: row.guid,
      origin: row.origin,
      createdAt: row.created_at,
      version: row.version,
      poolId: row.pool_id,
      pool: row.pool,
      localPool: row.local_pool,
      driver: row.driver,
      hostId: row.host_id,
      host: row.host,
    }),
  )

export const SNAPSHOT_COLUMNS =
  's.id, s.group_id, s.volume_id, s.name, s.path, s.size_bytes, s.guid, s.state, s.instance_snapshot_id, s.created_at, s.version'

export const SnapshotColumns = z
  .object({
    id: z.string(),
    group_id: z.string(),
    volume_id: z.string(),
    name: z.string(),
    path: z.string(),
    size_bytes: bigint,
    guid: z.string().nullable(),
    state: State,
    instance_snapshot_id: z.string().nullable(),
    created_at: z.date(),
    version: bigint,
  })
  .transform(
    (row): VolumeSnapshotRow => ({
      id: row.id,
      groupId: row.group_id,
      volumeId: row.volume_id,
      name: row.name,
      path: row.path,
      sizeBytes: row.size_bytes,
      guid: row.guid,
      state: row.state,
      partOf: row.instance_snapshot_id,
      createdAt: row.created_at,
      version: row.version,
    }),
  )

/** `e`, `p`, `h` are export, pool and host. */
export const EXPORT_COLUMNS = `e.id, e.group_id, e.wwn, e.volume, e.initiators, e.chap_user, e.is_readonly, e.secret_id, e.state, e.created_at, e.version,
  p.id as pool_id, p.local_name as local_pool, h.id as host_id, h.name as host`
export const EXPORT_JOINS = 'join pool p on p.id = e.pool_id join host h on h.id = p.host_id'

export const ExportColumns = z
  .object({
    id: z.string(),
    group_id: z.string(),
    wwn: z.string(),
    volume: z.string(),
    initiators: z.array(z.string()),
    chap_user: z.string().nullable(),
    is_readonly: z.boolean(),
    secret_id: z.string().nullable(),
    state: State,
    created_at: z.date(),
    version: bigint,
    pool_id: z.string(),
    local_pool: z.string(),
    host_id: z.string(),
    host: z.string(),
  })
  .transform(
    (row): ExportRow => ({
      id: row.id,
      groupId: row.group_id,
      wwn: row.wwn,
      volume: row.volume,
      initiators: row.initiators,
      chapUser: row.chap_user,
      isReadonly: row.is_readonly,
      secretId: row.secret_id,
      state: row.state,
      createdAt: row.created_at,
      version: row.version,
      poolId: row.pool_id,
      localPool: row.local_pool,
      hostId: row.host_id,
      host: row.host,
    }),
  )
