import { z } from 'zod'
import { actorOn } from '../../core/audit.ts'
import type { InstanceBackupStore } from '../../core/instance-backup-operations.ts'
import { type Sql, statement } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { INSTANCE_BACKUP_COLUMNS, INSTANCE_BACKUP_FROM, InstanceBackupRow } from './instance-backup-columns.ts'
import { ordinalOf } from './instance-snapshot-store.ts'
import { ORDERING_SECONDS } from './order-instance-backups.ts'

const find = statement(
  'instance_backup_find',
  InstanceBackupRow,
  `select ${INSTANCE_BACKUP_COLUMNS} ${INSTANCE_BACKUP_FROM} where i.group_id = $1 and i.id = $2`,
)

const madeBy = statement(
  'instance_backup_made_by',
  InstanceBackupRow,
  `select ${INSTANCE_BACKUP_COLUMNS} ${INSTANCE_BACKUP_FROM}
   where i.group_id = $1 and i.series_id = (select p.series_id from point p where p.job_id = $2)`,
)

/** Newest first. */
const list = statement(
  'instance_backup_list',
  InstanceBackupRow,
  `select ${INSTANCE_BACKUP_COLUMNS} ${INSTANCE_BACKUP_FROM}
   where i.group_id = $1 and ($2::bigint is null or i.ordinal < $2) and ($3::uuid is null or i.instance_id = $3)
   order by i.ordinal desc
   limit $4`,
)

const MAX_VOLUMES = 100

const attached = statement(
  'instance_backup_attached',
  z
    .object({ id: z.string(), group_id: z.string(), path: z.string() })
    .transform(({ id, group_id: groupId, path }) => ({ id, groupId, path })),
  `select v.id, v.group_id, v.path
   from volume v
   where v.id in (select a.volume_id from volume_attachment a where a.instance_id = $1 and a.state <> 'reserved')
   order by v.path
   limit ${MAX_VOLUMES}`,
)

const ordered = statement(
  'instance_backup_ordered',
  z.unknown(),
  `update instance_backup
   set ordering_until = null, missing = $2, phase = case when phase = 'volumes' then 'reading' else phase end,
     look_at = case when phase = 'volumes' then now() else look_at end, version = version + 1, updated_at = now()
   where id = $1`,
)

const pinned = statement(
  'instance_backup_pinned',
  z.object({ id: z.string() }),
  `select p.id
   from instance_backup i
   join point p on p.series_id = i.series_id or p.series_id in (select v.series_id from volume_backup v where v.instance_backup_id = i.id)
   where i.id = $1 and p.pinned
   order by p.name
   limit 100`,
)

const remove = statement(
  'instance_backup_remove',
  z.object({ id: z.string() }),
  `update instance_backup
   set deleting = true, fail_reason = null, ordering_until = null, look_at = now(), looks = 0, version = version + 1, updated_at = now()
   where id = $1 and version = $2
   returning id`,
)

const ofSnapshot = statement(
  'instance_backup_of_snapshot',
  InstanceBackupRow,
  `select ${INSTANCE_BACKUP_COLUMNS} ${INSTANCE_BACKUP_FROM} where i.group_id = $1 and i.snapshot_id = $2`,
)

const make = statement(
  'instance_backup_make',
  z.unknown(),
  `insert into instance_backup (id, group_id, name, instance_id, instance_type, instance_name, host, target_id, series_id, incremental,
     asked_state, phase, snapshot_id, look_at)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'snapshot', $12, now())`,
)

/** Should whoever began it die, it is gone on with behind that. */
const begin = statement(
  'instance_backup_begin',
  z.object({ id: z.string() }),
  `update instance_backup
   set phase = 'snapshot', snapshot_id = null, asked_state = $3, captured = null, fail_reason = null, missing = '[]',
     look_at = now() + make_interval(secs => ${ORDERING_SECONDS}), looks = 0, version = version + 1, updated_at = now()
   where id = $1 and version = $2 and phase is null and not deleting
   returning id`,
)

const begun = statement(
  'instance_backup_begun',
  z.unknown(),
  `update instance_backup
   set snapshot_id = $2, fail_reason = $3, phase = case when $3::text is null then phase end,
     look_at = case when $3::text is null then now() end, version = version + 1, updated_at = now()
   where id = $1 and phase = 'snapshot'`,
)

const isId = (id: string) => z.uuid().safeParse(id).success

export function createInstanceBackupStore(sql: Sql): InstanceBackupStore {
  return {
    async find(groupId, id) {
      if (!isId(id)) return undefined
      const [row] = await sql.rows(find, [groupId, id])
      return row?.backup
    },

    madeBy: async (groupId, jobId) => (await sql.rows(madeBy, [groupId, jobId]))[0]?.backup,

    async list(groupId, { instanceId }, { limit, cursor }) {
      const before = ordinalOf(cursor)
      if (instanceId !== undefined && !isId(instanceId)) return { items: [], nextCursor: null }
      const rows = await sql.rows(list, [groupId, before, instanceId ?? null, limit + 1])
      const page = rows.slice(0, limit)
      const last = page.at(-1)
      const nextCursor = rows.length > limit && last ? String(last.ordinal) : null
      return { items: page.map(({ backup }) => backup), nextCursor }
    },

    ofSnapshot: async (groupId, id) => (await sql.rows(ofSnapshot, [groupId, id]))[0]?.backup,

    make: (caller, backup, { seriesId, snapshotId, state }) =>
      sql.transaction(async (tx) => {
        const { id, groupId, name, instanceId, instance, targetId, isIncremental } = backup
        const { type, name: called, host } = instance
        const values = [id, groupId, name, instanceId, type, called, host, targetId, seriesId, isIncremental, state]
        await tx.rows(make, [...values, snapshotId])
        const object = { kind: 'instance-backup', id, name }
        const by = actorOn(groupId, caller)
        await writeAudit(tx, [{ by, operation: 'instance-backup.create', object, result: 'accepted' }])
      }),

    async begin({ id, version }, state) {
      const [row] = await sql.rows(begin, [id, version, state])
      return row !== undefined
    },

    async begun(id, how) {
      const snapshotId = 'snapshotId' in how ? how.snapshotId : null
      const failReason = 'failReason' in how ? how.failReason : null
      await sql.rows(begun, [id, snapshotId, failReason])
    },

    attached: (instanceId) => sql.rows(attached, [instanceId]),

    async ordered(id, missing) {
      await sql.rows(ordered, [id, JSON.stringify(missing)])
    },

    pinned: async (id) => (await sql.rows(pinned, [id])).map((point) => point.id),

    remove: (caller, { id, groupId, name, version }) =>
      sql.transaction(async (tx) => {
        const [row] = await tx.rows(remove, [id, version])
        if (row === undefined) return undefined
        const object = { kind: 'instance-backup', id, name }
        const by = actorOn(groupId, caller)
        await writeAudit(tx, [{ by, operation: 'instance-backup.delete', object, result: 'accepted' }])
        return true
      }),
  }
}
