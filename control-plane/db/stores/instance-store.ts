import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { actorOn } from '../../core/audit.ts'
import type { InstanceReader, KeptInstance, PresentInstance } from '../../core/instances.ts'
import { type Sql, sqlState, statement } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { INSTANCE_COLUMNS, INSTANCE_FROM, InstanceRow } from './instance-columns.ts'

const FOREIGN_KEY_VIOLATION = '23503'
/** Of one name: more than there are hosts that could have it are not looked at. */
const NAMED_LIMIT = 1_000

const find = statement(
  'instance_find',
  InstanceRow,
  `select ${INSTANCE_COLUMNS} ${INSTANCE_FROM} where i.id = $2 and ($1::uuid is null or i.group_id = $1)`,
)

/** Plans are generic, so each index has its own statements. */
const namedOf = (name: string, whose: string) =>
  statement(
    name,
    InstanceRow,
    `select ${INSTANCE_COLUMNS} ${INSTANCE_FROM}
     where ${whose} and i.gone_at is null and i.ref is not null and (i.name = $2 or i.ref = $2)
       and ($3::text is null or i.type = $3) and ($4::text is null or h.name = $4)
       and (i.moved_to is null or i.state <> 'STOPPED' or $4 is not null)
     order by i.ordinal
     limit ${NAMED_LIMIT}`,
  )

const named = namedOf('instance_named', 'i.group_id = $1')
const namedAll = namedOf('instance_named_all', '$1::uuid is null')

const ofJob = statement(
  'instance_of_job',
  InstanceRow,
  `select ${INSTANCE_COLUMNS} ${INSTANCE_FROM}
   where i.id = (select (j.spec ->> 'instanceId')::uuid from job j where j.id = $1)`,
)

const listOf = (name: string, whose: string) =>
  statement(
    name,
    InstanceRow,
    `select ${INSTANCE_COLUMNS} ${INSTANCE_FROM}
     where ${whose} and ($2::bigint is null or i.ordinal < $2)
       and ($3::text is null or i.type = $3) and ($4::text is null or h.name = $4)
       and ($5::text[] is null or i.state = any($5)) and ($6::text is null or i.name = $6)
       and (i.gone_at is not null) = $7
     order by i.ordinal desc
     limit $8`,
  )

const list = listOf('instance_page', 'i.group_id = $1')
const listAll = listOf('instance_page_all', '$1::uuid is null')

const assign = statement(
  'instance_assign',
  z.object({ id: z.string() }),
  'update instance set group_id = $3, version = version + 1 where id = $1 and version = $2 returning id',
)

const groupOf = statement(
  'instance_group_of',
  z.object({ id: z.string() }),
  `select id
   from user_group
   where id::text = $1 or document_id = $1 or name = $1
   order by id::text = $1 desc, document_id = $1 desc
   limit 1`,
)

const isId = (id: string) => z.uuid().safeParse(id).success
/** What Postgres would not take as text is nobody's name. */
const isText = (text: string) => text.isWellFormed() && !text.includes('\0')

export function createInstanceStore(sql: Sql): InstanceReader {
  return {
    async find(groupId, id) {
      if (!isId(id)) return undefined
      return (await sql.rows(find, [groupId, id]))[0]?.instance
    },

    async named(groupId, { instance, type, host }) {
      if (!isText(instance) || (host !== undefined && !isText(host))) return []
      const rows = await sql.rows(groupId === null ? namedAll : named, [groupId, instance, type ?? null, host ?? null])
      return rows.flatMap((row) => (isPresent(row.instance) ? [row.instance] : []))
    },

    ofJob: async (jobId) => (await sql.rows(ofJob, [jobId]))[0]?.instance,

    async list(groupId, { type, host, state, name, gone = false }, { limit, cursor }) {
      const before = ordinalOf(cursor)
      if ([host, name].some((text) => text !== undefined && !isText(text))) return { items: [], nextCursor: null }
      const filter = [type ?? null, host ?? null, state ?? null, name ?? null, gone]
      const rows = await sql.rows(groupId === null ? listAll : list, [groupId, before, ...filter, limit + 1])
      const shown = rows.slice(0, limit)
      const last = shown.at(-1)
      const items = shown.map(({ instance }) => instance)
      return { items, nextCursor: rows.length > limit && last ? String(last.ordinal) : null }
    },

    async group(group) {
      return isText(group) ? (await sql.rows(groupOf, [group]))[0]?.id : undefined
    },

    assign: (caller, instance, groupId) =>
      sql
        .transaction(async (tx) => {
          const { id, name, version } = instance
          const [changed] = await tx.rows(assign, [id, version, groupId])
          if (changed === undefined) return false
          const detail = { from: instance.groupId, to: groupId }
          const object = { kind: 'instance', id, name }
          await writeAudit(tx, [
            { by: actorOn(groupId, caller), operation: 'instance.assign', object, result: 'done', detail },
          ])
          return true
        })
        .catch((error: unknown) => {
          if (sqlState(error) !== FOREIGN_KEY_VIOLATION) throw error
          throw new FleetError('not_found', 'the group is gone', { field: 'group', cause: error })
        }),
  }
}

function isPresent(instance: KeptInstance): instance is PresentInstance {
  return instance.ref !== null
}

/** @throws invalid. */
function ordinalOf(cursor: string | undefined): string | null {
  if (cursor === undefined) return null
  if (/^\d{1,18}$/.test(cursor)) return cursor
  throw new FleetError('invalid', 'cursor: is not one that this server gave', { field: 'cursor' })
}
