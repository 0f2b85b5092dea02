import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { newId } from '../../../shared/ids.ts'
import { actorOn } from '../../core/audit.ts'
import { type Caller, DEFAULT_GROUP_ID, ROLES } from '../../core/caller.ts'
import type { GROUP_FIELDS, Group, GroupStore, Member } from '../../core/groups.ts'
import type { SqlFields } from '../query-sql.ts'
import { type Sql, sqlState, statement, type Transaction } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { readListing } from './listing.ts'

const Columns = z.object({
  id: z.string(),
  document_id: z.string(),
  name: z.string(),
  members: z.array(z.object({ user: z.string(), role: z.enum(ROLES) })),
  tags: z.record(z.string(), z.string()),
  version: z.coerce.number(),
  created_at: z.date(),
  updated_at: z.date(),
})

const GroupRow = Columns.transform(
  (row): Group => ({
    id: row.id,
    documentId: row.document_id,
    name: row.name,
    members: row.members,
    tags: row.tags,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }),
)

const COLUMNS = `g.id, g.document_id, g.name, g.tags, g.version, g.created_at, g.updated_at,
  coalesce((
    select json_agg(json_build_object('user', u.document_id, 'role', m.role) order by m.created_at, m.user_id)
    from membership m
    join fleet_user u on u.id = m.user_id
    where m.group_id = g.id
  ), '[]') as members`

const FIELDS: SqlFields<typeof GROUP_FIELDS> = {
  id: { kind: 'text', sql: 'g.document_id' },
  name: { kind: 'text', sql: 'g.name' },
  members: {
    kind: 'set',
    has: (users) =>
      `g.id in (select m.group_id from membership m join fleet_user u on u.id = m.user_id where u.document_id = any(${users}))`,
  },
  tags: { kind: 'map', sql: 'g.tags' },
  createdAt: { kind: 'time', sql: 'g.created_at' },
  updatedAt: { kind: 'time', sql: 'g.updated_at' },
}

const TABLE = { row: GroupRow, columns: COLUMNS, from: 'user_group g', fields: FIELDS, tieBreak: 'g.id' }

const find = statement(
  'group_find',
  GroupRow,
  `select ${COLUMNS} from user_group g where g.document_id = $1 and ($2::uuid is null or g.id = $2)`,
)

const read = statement('group_read', GroupRow, `select ${COLUMNS} from user_group g where g.id = $1`)

const insert = statement('group_insert', z.unknown(), 'insert into user_group (id, name, tags) values ($1, $2, $3)')

/** Nulls leave what is there. */
const update = statement(
  'group_update',
  z.object({ id: z.string() }),
  `update user_group
   set name = coalesce($3, name), tags = coalesce($4, tags), version = version + 1, updated_at = now()
   where id = $1 and version = $2
   returning id`,
)

/** Users that come from elsewhere and were never seen here: they hold their place, and cannot log in. */
const admit = statement(
  'group_admit',
  z.unknown(),
  `insert into fleet_user (id, name)
   select (left(given, 8) || '-' || substr(given, 9, 4) || '-7000-8000-' || right(given, 12))::uuid, 'external:' || given
   from unnest($1::text[]) as given
   on conflict do nothing`,
)

/** In the order given, which is how they are listed. */
const join = statement(
  'group_join',
  z.unknown(),
  `with given as (
     select u.id as user_id, member.role, member.n
     from unnest($2::text[], $3::text[]) with ordinality as member(document_id, role, n)
     join fleet_user u on u.document_id = member.document_id
   ), left_behind as (
     delete from membership where group_id = $1 and user_id not in (select user_id from given)
   )
   insert into membership (group_id, user_id, role, created_at)
   select $1, user_id, role, now() + make_interval(secs => n * 0.000001) from given
   on conflict (group_id, user_id) do update set role = excluded.role where membership.role <> excluded.role`,
)

const absent = statement(
  'group_absent_users',
  z.object({ id: z.string() }),
  `select given as id
   from unnest($1::text[]) as given
   where not exists (select 1 from fleet_user u where u.document_id = given)`,
)

const lock = statement(
  'group_lock',
  z.object({ id: z.string() }),
  'select id from user_group where id = $1 and version = $2 for update',
)

/** `root` comes by itself, so it does not stand in the way. */
const blockers = statement(
  'group_blockers',
  z.object({ blocker: z.string() }),
  `(select 'dataset ' || name as blocker from dataset where group_id = $1 and ordinal <> 0 order by name limit $2)
   union all
   (select 'target ' || name from target where group_id = $1 order by name limit $2)
   union all
   (select 'point ' || id from point where group_id = $1 order by ordinal limit $2)
   union all
   (select 'schedule ' || name from schedule where group_id = $1 order by number limit $2)
   union all
   (select 'instance ' || name from instance where group_id = $1 and gone_at is null order by ordinal limit $2)
   union all
   (select 'volume ' || path from volume where group_id = $1 order by path limit $2)
   union all
   (select 'export ' || wwn from export where group_id = $1 order by wwn limit $2)
   union all
   (select 'job ' || id from job where group_id = $1 and finished_at is null order by ordinal limit $2)`,
)

/** It stands on a host and must be deleted there; until then it is a dataset like any other of the default group. */
const handOverRoot = statement(
  'group_hand_over_root',
  z.object({ name: z.string() }),
  `update dataset
   set group_id = $2, name = 'root-of-' || $3, ordinal = nextval('dataset_ordinal'), version = version + 1
   where group_id = $1 and ordinal = 0
   returning name`,
)

const removeJobs = statement('group_delete_jobs', z.unknown(), 'delete from job where group_id = $1')
/** Directories without points. */
const removeSeries = statement('group_delete_series', z.unknown(), 'delete from point_series where group_id = $1')
/** Those that are gone: should they come back, they are nobody's in particular. */
const removeInstances = statement('group_delete_instances', z.unknown(), 'delete from instance where group_id = $1')
const removeTokens = statement('group_delete_tokens', z.unknown(), 'delete from access_token where group_id = $1')
const remove = statement('group_delete', z.unknown(), 'delete from user_group where id = $1')

const BLOCKERS_SHOWN = 20
const UNIQUE_VIOLATION = '23505'
const FOREIGN_KEY_VIOLATION = '23503'

export interface GroupStoreOptions {
  /** Members are known elsewhere: an id that no user here has is taken as it is. */
  readonly externalIdentity: boolean
}

export function createGroupStore(sql: Sql, { externalIdentity }: GroupStoreOptions): GroupStore {
  async function setMembers(tx: Transaction, id: string, members: readonly Member[]): Promise<void> {
    const users = members.map(({ user }) => user)
    if (externalIdentity) await tx.rows(admit, [users])
    const [missing] = await tx.rows(absent, [users])
    if (missing) throw unknownUser(missing.id)
    await tx.rows(join, [id, users, members.map(({ role }) => role)])
  }

  return {
    async find(id, groupId) {
      const [group] = await sql.rows(find, [id, groupId])
      return group
    },

    list: (request, groupId) =>
      readListing(sql, TABLE, request, (parameters) =>
        groupId === null ? 'true' : `g.id = ${parameters.add(groupId, 'uuid')}`,
      ),

    create: (caller, group) =>
      named(group.name, () =>
        sql.transaction(async (tx) => {
          const id = newId()
          await tx.rows(insert, [id, group.name, group.tags])
          if (group.members.length > 0) await setMembers(tx, id, group.members)
          return written(tx, caller, { operation: 'group.create', id, fields: Object.keys(group) })
        }),
      ),

    change: (caller, group, change) =>
      named(change.name ?? group.name, () =>
        sql.transaction(async (tx) => {
          const { name, tags, members } = change
          const [row] = await tx.rows(update, [group.id, group.version, name ?? null, tags ?? null])
          if (row === undefined) return undefined
          if (members !== undefined) await setMembers(tx, group.id, members)
          return written(tx, caller, { operation: 'group.update', id: group.id, fields: Object.keys(change) })
        }),
      ),

    delete: (caller, group) =>
      named(group.name, () =>
        sql.transaction(async (tx) => {
          const { id, version, name, documentId } = group
          const [row] = await tx.rows(lock, [id, version])
          if (row === undefined) return undefined
          const found = await tx.rows(blockers, [id, BLOCKERS_SHOWN])
          if (found.length > 0) throw inUse(found.map(({ blocker }) => blocker))
          const handedOver = await tx.rows(handOverRoot, [id, DEFAULT_GROUP_ID, documentId])
          await tx.rows(removeJobs, [id])
          await tx.rows(removeSeries, [id])
          await tx.rows(removeInstances, [id])
          await tx.rows(removeTokens, [id])
          await tx.rows(remove, [id])
          await writeAudit(tx, [
            { by: actorOn(id, caller), operation: 'group.delete', object: { kind: 'group', id, name }, result: 'done' },
          ])
          return { leftovers: handedOver.map((dataset) => dataset.name) }
        }),
      ),
  }
}

/** The group as it is now, and the audit of how it became so. */
async function written(
  tx: Transaction,
  caller: Caller,
  { operation, id, fields }: { readonly operation: string; readonly id: string; readonly fields: readonly string[] },
): Promise<Group> {
  const [group] = await tx.rows(read, [id])
  if (group === undefined) throw new FleetError('internal', 'internal error', { detail: `group ${id} vanished` })
  const object = { kind: 'group', id, name: group.name }
  await writeAudit(tx, [{ by: actorOn(id, caller), operation, object, result: 'done', detail: { fields } }])
  return group
}

function unknownUser(id: string): FleetError {
  return new FleetError('invalid', `users: there is no user '${id}'`, { field: 'users' })
}

function inUse(blockers: readonly string[]): FleetError {
  return new FleetError('conflict', 'the group owns what must be deleted first', { blockers })
}

/** @throws what core calls a name that is taken, a member that has gone meanwhile, or a group that owns something of another kind. */
async function named<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    const state = sqlState(error)
    if (state === UNIQUE_VIOLATION) {
      throw new FleetError('exists', `value '${name}' is not unique`, { field: 'name', cause: error })
    }
    if (state !== FOREIGN_KEY_VIOLATION) throw error
    const table = error instanceof Error && 'table' in error ? String(error.table) : ''
    if (table === 'membership')
      throw new FleetError('invalid', 'users: one of them is gone', { field: 'users', cause: error })
    throw inUse([table])
  }
}
