import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { CaptureReader, KeptSnapshotOfInstance } from '../../core/instance-capture-book.ts'
import type { InstanceSnapshotInfo } from '../../core/instance-captures.ts'
import { type Sql, statement } from '../sql.ts'
import { SNAPSHOT_OF_INSTANCE_COLUMNS, SnapshotOfInstanceRow } from './instance-snapshot-columns.ts'

const find = statement(
  'instance_snapshot_find',
  SnapshotOfInstanceRow,
  `select ${SNAPSHOT_OF_INSTANCE_COLUMNS} from instance_snapshot s where s.group_id = $1 and s.id = $2`,
)

const madeBy = statement(
  'instance_snapshot_made_by',
  SnapshotOfInstanceRow,
  `select ${SNAPSHOT_OF_INSTANCE_COLUMNS} from instance_snapshot s where s.group_id = $1 and s.job_id = $2`,
)

/** Newest first. */
const list = statement(
  'instance_snapshot_list',
  SnapshotOfInstanceRow,
  `select ${SNAPSHOT_OF_INSTANCE_COLUMNS}
   from instance_snapshot s
   where s.group_id = $1 and ($2::bigint is null or s.ordinal < $2) and ($3::uuid is null or s.instance_id = $3)
   order by s.ordinal desc
   limit $4`,
)

const isId = (id: string) => z.uuid().safeParse(id).success

export function createInstanceSnapshotStore(sql: Sql): CaptureReader {
  return {
    async find(groupId, id) {
      if (!isId(id)) return undefined
      const [row] = await sql.rows(find, [groupId, id])
      return row && shown(row.snapshot)
    },

    async madeBy(groupId, jobId) {
      if (!isId(jobId)) return undefined
      const [row] = await sql.rows(madeBy, [groupId, jobId])
      return row && shown(row.snapshot)
    },

    async list(groupId, { instanceId }, { limit, cursor }) {
      const before = ordinalOf(cursor)
      if (instanceId !== undefined && !isId(instanceId)) return { items: [], nextCursor: null }
      const rows = await sql.rows(list, [groupId, before, instanceId ?? null, limit + 1])
      const page = rows.slice(0, limit)
      const last = page.at(-1)
      const nextCursor = rows.length > limit && last ? String(last.ordinal) : null
      return { items: page.map(({ snapshot }) => shown(snapshot)), nextCursor }
    },
  }
}

function shown({ jobId: _, ...info }: KeptSnapshotOfInstance): InstanceSnapshotInfo {
  return info
}

/** @throws invalid. */
export function ordinalOf(cursor: string | undefined): string | null {
  if (cursor === undefined) return null
  if (/^\d{1,18}$/.test(cursor)) return cursor
  throw new FleetError('invalid', 'cursor: is not one that this server gave', { field: 'cursor' })
}
