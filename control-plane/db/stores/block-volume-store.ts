import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { actorOn } from '../../core/audit.ts'
import type { BlockVolumeChange, BlockVolumeRow, BlockVolumeStore } from '../../core/block-store.ts'
import { type Sql, statement, type Transaction } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { BLOCK_VOLUMES, BlockVolumeColumns } from './block-columns.ts'
import { createBlockPages } from './block-pages.ts'
import { lockVolumes } from './volume-findings.ts'

/** How long a claim stands when whoever made it is gone. */
const CLAIM_S = 60

const pages = createBlockPages({ name: 'block_volume', row: BlockVolumeColumns, kinds: BLOCK_VOLUMES })

const describe = statement(
  'block_volume_describe',
  z.unknown(),
  `insert into block_volume (id, group_id, path, host, pool, size_bytes, name, description, metadata, snapshot_id, source_volume_id, backup_id,
     created_at)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, coalesce((select created_at from volume where id = $1), now()))
   on conflict (id) do nothing`,
)

/** One that nobody has said anything about yet. */
const adopt = statement(
  'block_volume_adopt',
  z.unknown(),
  `insert into block_volume (id, group_id, path, host, pool, size_bytes, name, created_at)
   select v.id, v.group_id, v.path, h.name, p.name, v.size_bytes, substr(v.path, strpos(v.path, '/') + 1), v.created_at
   from volume v
   join pool p on p.id = v.pool_id
   join host h on h.id = p.host_id
   where v.id = $1
   on conflict (id) do nothing`,
)

const update = statement(
  'block_volume_update',
  z.unknown(),
  `update block_volume
   set name = $2, description = $3, metadata = $4, is_bootable = $5, is_readonly = $6, phase = $7,
     claim = case when $8::boolean then $9 else claim end,
     claimed_until = case when $8::boolean then now() + make_interval(secs => ${CLAIM_S}) else claimed_until end,
     delete_job_id = coalesce($10, delete_job_id), updated_at = now(), version = version + 1
   where id = $1`,
)

const attach = statement(
  'block_volume_attach',
  z.unknown(),
  `insert into volume_attachment (id, volume_id, instance_id, host_name, mountpoint, mode, state, attached_at)
   values ($1, $2, $3, $4, $5, $6, $7, case when $7 = 'attached' then now() end)`,
)

const settle = statement(
  'block_volume_settle',
  z.unknown(),
  `update volume_attachment
   set host_name = $3, mountpoint = $4, mode = $5, state = $6, initiator = $7, connection = $8, attached_at = $9
   where volume_id = $1 and id = $2`,
)

const detach = statement(
  'block_volume_detach',
  z.unknown(),
  'delete from volume_attachment where volume_id = $1 and id = any($2::uuid[])',
)

const forget = statement(
  'block_volume_forget',
  z.unknown(),
  `with snapshots as (
     delete from block_snapshot where volume_id = $1
   )
   delete from block_volume b where b.id = $1 and not exists (select 1 from volume v where v.id = b.id)`,
)

const usage = statement(
  'block_usage',
  z.object({ volumes: z.coerce.number(), snapshots: z.coerce.number(), size_gib: z.coerce.number() }),
  `select (select count(*) from volume where group_id = $1) as volumes, (select count(*) from volume_snapshot where group_id = $1) as snapshots,
     (select coalesce(sum(ceil(size_bytes / (1024.0 * 1024 * 1024))), 0)
      from (
        select size_bytes from volume where group_id = $1
        union all
        select size_bytes from volume_snapshot where group_id = $1
      ) all_sizes) as size_gib`,
)

const summary = statement(
  'block_summary',
  z.object({
    count: z.coerce.number(),
    size_gib: z.coerce.number(),
    metadata: z.record(z.string(), z.array(z.string())),
  }),
  `select count(*) as count, coalesce(sum(ceil(size_bytes / (1024.0 * 1024 * 1024))), 0) as size_gib,
     (select coalesce(json_object_agg(key, vals), '{}')
      from (
        select m.key, array_agg(distinct m.value order by m.value) as vals
        from block_volume b, jsonb_each_text(b.metadata) m
        where $1::uuid is null or b.group_id = $1
        group by m.key
      ) members) as metadata
   from (
     select size_bytes from volume where $1::uuid is null or group_id = $1
     union all
     select b.size_bytes
     from block_volume b
     where ($1::uuid is null or b.group_id = $1) and not exists (select 1 from volume v where v.id = b.id)
   ) both_kinds`,
)

async function write(tx: Transaction, row: BlockVolumeRow, change: BlockVolumeChange): Promise<void> {
  const { name = row.name, description = row.description, metadata = row.metadata } = change
  const { isBootable = row.isBootable, isReadonly = row.isReadonly, phase = row.phase, claim } = change
  await tx.rows(adopt, [row.id])
  await tx.rows(update, [
    ...[row.id, name, description, JSON.stringify(metadata), isBootable, isReadonly, phase],
    ...[claim !== undefined, claim ?? null, change.deleteJobId ?? null],
  ])
  if (change.detach) await tx.rows(detach, [row.id, change.detach])
  if (change.settle) {
    const { id, hostName, mountpoint, mode, state, initiator, connection, attachedAt } = change.settle
    const told = connection && JSON.stringify(connection)
    await tx.rows(settle, [row.id, id, hostName, mountpoint, mode, state, initiator, told, attachedAt])
  }
  if (change.attach) {
    const { id, instanceId, hostName, mountpoint, mode, state } = change.attach
    await tx.rows(attach, [id, row.id, instanceId, hostName, mountpoint, mode, state])
  }
}

export function createBlockVolumeStore(sql: Sql): BlockVolumeStore {
  return {
    find: (groupId, id) => pages.find(sql, groupId, id),
    list: (groupId, filter, page) => pages.list(sql, groupId, { filter, which: filter.isBootable ?? null }, page),

    async usage(groupId) {
      const [row] = await sql.rows(usage, [groupId])
      return { volumes: row?.volumes ?? 0, snapshots: row?.snapshots ?? 0, sizeGib: row?.size_gib ?? 0 }
    },

    async summary(groupId) {
      const [row] = await sql.rows(summary, [groupId])
      return { count: row?.count ?? 0, sizeGib: row?.size_gib ?? 0, metadata: row?.metadata ?? {} }
    },

    async describe(described) {
      const { id, groupId, path, host, pool, sizeBytes, name, description, metadata } = described
      const { snapshotId, sourceVolumeId, backupId } = described
      await sql.rows(describe, [
        ...[id, groupId, path, host, pool, sizeBytes, name, description, JSON.stringify(metadata)],
        ...[snapshotId, sourceVolumeId, backupId],
      ])
    },

    change: (caller, id, decide, told) =>
      sql.transaction(async (tx) => {
        await lockVolumes(tx)
        const row = await pages.find(tx, caller.groupId, id)
        if (row === undefined) throw new FleetError('not_found', `there is no volume ${id}`)
        const change = decide(row)
        if (change === undefined) return row
        await write(tx, row, change)
        const object = { kind: 'volume', id, name: row.path }
        if (told) await writeAudit(tx, [{ by: actorOn(row.groupId, caller), ...told, object, result: 'done' }])
        return (await pages.find(tx, caller.groupId, id)) ?? row
      }),

    forget: (caller, { id, path, groupId }) =>
      sql.transaction(async (tx) => {
        await tx.rows(forget, [id])
        const object = { kind: 'volume', id, name: path }
        await writeAudit(tx, [{ by: actorOn(groupId, caller), operation: 'volume.delete', object, result: 'done' }])
      }),
  }
}
