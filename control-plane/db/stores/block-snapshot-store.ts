import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { actorOn } from '../../core/audit.ts'
import type { BlockSnapshotRow, BlockSnapshotStore } from '../../core/block-store.ts'
import { type Sql, statement } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { BLOCK_SNAPSHOTS, BlockSnapshotColumns } from './block-columns.ts'
import { createBlockPages } from './block-pages.ts'
import { lockVolumes } from './volume-findings.ts'

const UUID = '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'

/** Those that clones of volumes rest on are not told of. */
const pages = createBlockPages({
  ...{ name: 'block_snapshot', row: BlockSnapshotColumns, kinds: BLOCK_SNAPSHOTS },
  also: `($8::uuid is null or s.volume_id = $8) and (s.is_described or s.own_name !~ '^clone-${UUID}$')`,
})

const ofVolume = statement(
  'block_snapshot_of_volume',
  BlockSnapshotColumns,
  `select * from (
     (select s.* from (${BLOCK_SNAPSHOTS[0]}) s where s.volume_id = $1)
     union all
     (select s.* from (${BLOCK_SNAPSHOTS[1]}) s where s.volume_id = $1)
   ) both_kinds
   order by created_at, id
   limit $2`,
)

const describe = statement(
  'block_snapshot_describe',
  z.unknown(),
  `insert into block_snapshot (id, group_id, volume_id, path, size_bytes, name, description, metadata, created_at)
   values ($1, $2, $3, $4, $5, $6, $7, $8, coalesce((select created_at from volume_snapshot where id = $1), now()))
   on conflict (id) do nothing`,
)

/** One that nobody has said anything about yet. */
const adopt = statement(
  'block_snapshot_adopt',
  z.unknown(),
  `insert into block_snapshot (id, group_id, volume_id, path, size_bytes, name, created_at)
   select id, group_id, volume_id, path, size_bytes, name, created_at from volume_snapshot where id = $1
   on conflict (id) do nothing`,
)

const update = statement(
  'block_snapshot_update',
  z.unknown(),
  `update block_snapshot
   set name = $2, description = $3, metadata = $4, delete_job_id = coalesce($5, delete_job_id), updated_at = now(), version = version + 1
   where id = $1`,
)

const forget = statement(
  'block_snapshot_forget',
  z.unknown(),
  `delete from block_snapshot b where b.id = $1 and not exists (select 1 from volume_snapshot s where s.id = b.id)`,
)

export interface BlockSnapshotRows extends BlockSnapshotStore {
  /** All of a volume, those too that are not listed, oldest first. */
  ofVolume(volumeId: string, limit: number): Promise<readonly BlockSnapshotRow[]>
}

export function createBlockSnapshotStore(sql: Sql): BlockSnapshotRows {
  return {
    find: (groupId, id) => pages.find(sql, groupId, id),
    async list(groupId, filter, page) {
      const { volumeId } = filter
      if (volumeId !== undefined && !z.uuid().safeParse(volumeId).success) {
        return page.isCounted ? { items: [], nextCursor: null, count: 0 } : { items: [], nextCursor: null }
      }
      return pages.list(sql, groupId, { filter, which: volumeId ?? null }, page)
    },
    ofVolume: (volumeId, limit) => sql.rows(ofVolume, [volumeId, limit]),

    async describe({ id, groupId, volumeId, path, sizeBytes, name, description, metadata }) {
      await sql.rows(describe, [id, groupId, volumeId, path, sizeBytes, name, description, JSON.stringify(metadata)])
    },

    change: (caller, id, decide, told) =>
      sql.transaction(async (tx) => {
        await lockVolumes(tx)
        const row = await pages.find(tx, caller.groupId, id)
        if (row === undefined) throw new FleetError('not_found', `there is no snapshot ${id}`)
        const change = decide(row)
        if (change === undefined) return row
        const { name = row.name, description = row.description, metadata = row.metadata, deleteJobId = null } = change
        await tx.rows(adopt, [id])
        await tx.rows(update, [id, name, description, JSON.stringify(metadata), deleteJobId])
        const object = { kind: 'volume-snapshot', id, name: row.path }
        if (told) await writeAudit(tx, [{ by: actorOn(row.groupId, caller), ...told, object, result: 'done' }])
        return (await pages.find(tx, caller.groupId, id)) ?? row
      }),

    forget: (caller, { id, path, groupId }) =>
      sql.transaction(async (tx) => {
        await tx.rows(forget, [id])
        const object = { kind: 'volume-snapshot', id, name: path }
        const operation = 'volume-snapshot.delete'
        await writeAudit(tx, [{ by: actorOn(groupId, caller), operation, object, result: 'done' }])
      }),
  }
}
