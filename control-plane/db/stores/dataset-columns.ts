import { z } from 'zod'
import { Capabilities, DriverName } from '../../../shared/wire/messages.ts'
import type { LockedDataset } from '../../core/orders.ts'

/** The columns of every query that reads datasets; `d`, `p`, `h`, `o` are dataset, pool, host and origin. */
export const DATASET_COLUMNS = `d.id, d.ordinal, d.group_id, d.name, d.is_snapshot, d.readonly, d.origin_id, d.origin_ordinal,
  o.name as origin_name, d.state, d.root_inode, d.mountpoint, d.consistency, d.tags, d.version, d.created_at, d.instance_snapshot_id,
  h.id as host_id, h.name as host, p.id as pool_id, p.name as pool, p.local_name as local_pool, p.driver, p.capabilities`

export const DATASET_JOINS = `join pool p on p.id = d.pool_id
  join host h on h.id = p.host_id
  left join dataset o on o.id = d.origin_id`

/** bigint arrives as text. */
const bigint = z.coerce.number()

export const DatasetRow = z
  .object({
    id: z.string(),
    ordinal: bigint,
    group_id: z.string(),
    name: z.string(),
    is_snapshot: z.boolean(),
    readonly: z.boolean(),
    origin_id: z.string().nullable(),
    origin_ordinal: bigint.nullable(),
    origin_name: z.string().nullable(),
    state: z.enum(['creating', 'available', 'deleting']),
    root_inode: bigint,
    mountpoint: z.string(),
    consistency: z.enum(['crash', 'fuzzy']),
    tags: z.record(z.string(), z.string()),
    version: bigint,
    created_at: z.date(),
    instance_snapshot_id: z.string().nullable(),
    host_id: z.string(),
    pool_id: z.string(),
    host: z.string(),
    pool: z.string(),
    local_pool: z.string(),
    driver: DriverName,
    capabilities: Capabilities,
  })
  .transform(
    (row): LockedDataset => ({
      id: row.id,
      ordinal: row.ordinal,
      groupId: row.group_id,
      name: row.name,
      isSnapshot: row.is_snapshot,
      readonly: row.readonly,
      origin:
        row.origin_id === null ? null : { id: row.origin_id, ordinal: row.origin_ordinal ?? 0, name: row.origin_name },
      state: row.state,
      rootInode: row.root_inode,
      mountpoint: row.mountpoint,
      consistency: row.consistency,
      tags: row.tags,
      version: row.version,
      createdAt: row.created_at,
      partOf: row.instance_snapshot_id,
      hostId: row.host_id,
      poolId: row.pool_id,
      host: row.host,
      pool: row.pool,
      localPool: row.local_pool,
      driver: row.driver,
      capabilities: row.capabilities,
    }),
  )
