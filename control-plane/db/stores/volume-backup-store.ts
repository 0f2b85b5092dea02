import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { actorOn } from '../../core/audit.ts'
import type { VolumeBackupStore } from '../../core/volume-backups.ts'
import { type Sql, statement } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { createKnownBackups } from './known-backups.ts'
import { BACKUP_COLUMNS, BACKUP_JOINS, BackupColumns } from './volume-backup-columns.ts'
import { refold } from './volume-backup-fold.ts'
import { SNAPSHOT_COLUMNS, SnapshotColumns } from './volume-columns.ts'

const find = statement(
  'volume_backup_find',
  BackupColumns,
  `select ${BACKUP_COLUMNS} from volume_backup b ${BACKUP_JOINS} where b.group_id = $1 and b.id = $2`,
)

const madeBy = statement(
  'volume_backup_made_by',
  BackupColumns,
  `select ${BACKUP_COLUMNS}
   from point p
   join volume_backup b on b.series_id = p.series_id ${BACKUP_JOINS}
   where b.group_id = $1 and p.job_id = $2`,
)

const snapshot = statement(
  'volume_backup_snapshot',
  SnapshotColumns,
  `select ${SNAPSHOT_COLUMNS} from volume_snapshot s where s.group_id = $1 and s.id = $2`,
)

const MAX_USERS = 100

/** Exports of it, and servers that clients have noted as having it. */
const usersOf = statement(
  'volume_backup_users',
  z.object({ name: z.string() }),
  `(select 'export ' || wwn as name from export where volume = $2 and state <> 'deleting' order by wwn limit ${MAX_USERS})
   union all
   (select 'server ' || coalesce(instance_id::text, host_name, id::text) as name from volume_attachment where volume_id = $1
    order by id limit ${MAX_USERS})`,
)

const pinned = statement(
  'volume_backup_pinned',
  z.object({ id: z.string() }),
  `select p.id
   from volume_backup b
   join point p on p.series_id = b.series_id
   where b.id = $1 and p.pinned
   order by p.name
   limit ${MAX_USERS}`,
)

const restoring = statement(
  'volume_backup_restoring',
  z.unknown(),
  'update volume_backup set restore_job_id = $2 where id = $1',
)

const remove = statement(
  'volume_backup_remove',
  z.object({ id: z.string() }),
  `update volume_backup
   set deleting = true, status = 'deleting', fail_reason = null, owes_prune = false, look_at = now(), looks = 0, version = version + 1,
     updated_at = now()
   where id = $1 and version = $2
   returning id`,
)

const isId = (id: string) => z.uuid().safeParse(id).success

export function createVolumeBackupStore(sql: Sql): VolumeBackupStore {
  const known = createKnownBackups(sql)

  return {
    async find(groupId, id) {
      if (!isId(id)) return undefined
      const [row] = await sql.rows(find, [groupId, id])
      return row?.info
    },

    async madeBy(groupId, jobId) {
      const [row] = await sql.rows(madeBy, [groupId, jobId])
      return row?.info
    },

    async list(groupId, { volumeId, name }, { limit, cursor }) {
      const isNobodys = (volumeId !== undefined && !isId(volumeId)) || (name !== undefined && !isText(name))
      if (isNobodys) return { items: [], nextCursor: null }
      const filter = { volumeId: volumeId ?? null, name: name ?? null }
      return known.list({ groupId, before: ordinalOf(cursor), ...filter, limit })
    },

    async snapshot(groupId, id) {
      if (!isId(id)) return undefined
      const [row] = await sql.rows(snapshot, [groupId, id])
      if (row === undefined) return undefined
      const { guid: _, ...info } = row
      return info
    },

    usersOf: async ({ id, path }) => (await sql.rows(usersOf, [id, path])).map(({ name }) => name),

    pinned: async (id) => (await sql.rows(pinned, [id])).map((point) => point.id),

    restoring: (id, jobId) =>
      sql.transaction(async (tx) => {
        await tx.rows(restoring, [id, jobId])
        await refold(tx, [id])
      }),

    remove: (caller, { id, groupId, name, version }) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(remove, [id, version])
        if (row === undefined) return undefined
        const object = { kind: 'volume-backup', id, name }
        const by = actorOn(groupId, caller)
        await writeAudit(tx, [{ by, operation: 'volume-backup.delete', object, result: 'accepted' }])
        return true
      }),
  }
}

/** Anything else nobody has, and Postgres does not take. */
function isText(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0')
}

/** @throws invalid. */
function ordinalOf(cursor: string | undefined): string | null {
  if (cursor === undefined) return null
  if (/^\d{1,18}$/.test(cursor)) return cursor
  throw new FleetError('invalid', 'cursor: is not one that this server gave', { field: 'cursor' })
}
