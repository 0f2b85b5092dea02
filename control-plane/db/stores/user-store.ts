import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { newId } from '../../../shared/ids.ts'
import { actorOn } from '../../core/audit.ts'
import { type Caller, ROLES } from '../../core/caller.ts'
import type { KeptUserChange, NewUser, USER_FIELDS, User, UserSight, UserStore } from '../../core/users.ts'
import type { Parameters, SqlFields } from '../query-sql.ts'
import { type Sql, sqlState, statement, type Transaction } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { readListing } from './listing.ts'
import { lockStewards, requireSteward } from './stewards.ts'

const Columns = z.object({
  id: z.string(),
  document_id: z.string(),
  name: z.string(),
  role: z.enum(ROLES).nullable(),
  disabled: z.boolean(),
  has_password: z.boolean(),
  certificates: z.array(z.string()),
  tags: z.record(z.string(), z.string()),
  version: z.coerce.number(),
  created_at: z.date(),
  updated_at: z.date(),
})

const UserRow = Columns.transform(
  (row): User => ({
    id: row.id,
    documentId: row.document_id,
    name: row.name,
    role: row.role,
    disabled: row.disabled,
    hasPassword: row.has_password,
    certificates: row.certificates,
    tags: row.tags,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }),
)

const COLUMNS = `u.id, u.document_id, u.name, u.role, u.disabled, u.password is not null as has_password,
  array(select c.name from user_certificate c where c.user_id = u.id order by c.name) as certificates,
  u.tags, u.version, u.created_at, u.updated_at`

const FIELDS: SqlFields<typeof USER_FIELDS> = {
  id: { kind: 'text', sql: 'u.document_id' },
  name: { kind: 'text', sql: 'u.name' },
  role: { kind: 'text', sql: 'u.role', nullable: true },
  disabled: { kind: 'boolean', sql: 'u.disabled' },
  certificates: {
    kind: 'set',
    has: (names) => `exists (select 1 from user_certificate c where c.user_id = u.id and c.name = any(${names}))`,
  },
  tags: { kind: 'map', sql: 'u.tags' },
  createdAt: { kind: 'time', sql: 'u.created_at' },
  updatedAt: { kind: 'time', sql: 'u.updated_at' },
}

const TABLE = { row: UserRow, columns: COLUMNS, from: 'fleet_user u', fields: FIELDS, tieBreak: 'u.id' }

const find = statement(
  'user_find',
  UserRow,
  `select ${COLUMNS}
   from fleet_user u
   where u.document_id = $1
     and ($2 or u.id = $3 or exists (select 1 from membership m where m.group_id = $4 and m.user_id = u.id))`,
)

const read = statement('user_read', UserRow, `select ${COLUMNS} from fleet_user u where u.id = $1`)

const passwordOf = statement(
  'user_password',
  z.object({ password: z.string().nullable() }),
  'select password from fleet_user where id = $1',
)

const insert = statement(
  'user_insert',
  z.unknown(),
  'insert into fleet_user (id, name, password, role, disabled, tags) values ($1, $2, $3, $4, $5, $6)',
)

/** `$3` names the columns that change. */
const update = statement(
  'user_update',
  z.object({ id: z.string() }),
  `update fleet_user
   set name = case when 'name' = any($3::text[]) then $4 else name end,
     password = case when 'password' = any($3) then $5 else password end,
     role = case when 'role' = any($3) then $6 else role end,
     disabled = case when 'disabled' = any($3) then $7 else disabled end,
     tags = case when 'tags' = any($3) then $8::jsonb else tags end,
     version = version + 1,
     updated_at = now()
   where id = $1 and version = $2
   returning id`,
)

const setCertificates = statement(
  'user_certificates',
  z.unknown(),
  `with dropped as (
     delete from user_certificate where user_id = $1 and name <> all($2::text[])
   )
   insert into user_certificate (user_id, name)
   select $1, name from unnest($2::text[]) as given(name)
   where name not in (select name from user_certificate where user_id = $1)`,
)

const endSessions = statement('user_end_sessions', z.unknown(), 'delete from session where user_id = $1')

/** Nobody can join a group any more while this is held, so that every group is told below. */
const lock = statement('user_lock', z.unknown(), 'select 1 from fleet_user where id = $1 for update')

const remove = statement(
  'user_delete',
  z.object({ id: z.string() }),
  `with gone as (
     delete from fleet_user where id = $1 and version = $2 returning id
   ), told as (
     update user_group g
     set version = g.version + 1, updated_at = now()
     from membership m, gone
     where m.user_id = gone.id and m.group_id = g.id
   )
   select id from gone`,
)

export function createUserStore(sql: Sql): UserStore {
  return {
    async find(id, sight) {
      const [user] = await sql.rows(find, [
        id,
        sight.everyone,
        ...(sight.everyone ? [null, null] : [sight.userId, sight.groupId]),
      ])
      return user
    },

    list: (request, sight) => readListing(sql, TABLE, request, (parameters) => sightSql(sight, parameters)),

    async passwordOf({ id }) {
      const [row] = await sql.rows(passwordOf, [id])
      return row?.password ?? null
    },

    create: (caller, user) =>
      named(user.name, () =>
        sql.transaction(async (tx) => {
          const id = newId()
          await tx.rows(insert, [id, user.name, user.password, user.role, user.disabled, user.tags])
          if (user.certificates.length > 0) await tx.rows(setCertificates, [id, user.certificates])
          return written(tx, caller, { operation: 'user.create', id, fields: Object.keys(user) })
        }),
      ),

    change: (caller, user, change) =>
      named(change.name ?? user.name, () =>
        sql.transaction(async (tx) => {
          const { id, version } = user
          const fields = Object.keys(change).filter((field) => change[field as keyof NewUser] !== undefined)
          if (dethrones(user, change)) await lockStewards(tx)
          const { name, password, role, disabled, tags, certificates } = change
          const values = [
            id,
            version,
            fields,
            name ?? null,
            password ?? null,
            role ?? null,
            disabled ?? null,
            tags ?? null,
          ]
          const [row] = await tx.rows(update, values)
          if (row === undefined) return undefined
          if (dethrones(user, change)) await requireSteward(tx)
          if (certificates !== undefined) await tx.rows(setCertificates, [id, certificates])
          if (password !== undefined || disabled === true) await tx.rows(endSessions, [id])
          return written(tx, caller, { operation: 'user.update', id, fields })
        }),
      ),

    delete: (caller, user) =>
      sql.transaction(async (tx) => {
        const { id, version, name } = user
        if (isSteward(user)) await lockStewards(tx)
        await tx.rows(lock, [id])
        const [row] = await tx.rows(remove, [id, version])
        if (row === undefined) return undefined
        if (isSteward(user)) await requireSteward(tx)
        await writeAudit(tx, [
          { by: actorOn(null, caller), operation: 'user.delete', object: { kind: 'user', id, name }, result: 'done' },
        ])
        return user
      }),
  }
}

function sightSql(sight: UserSight, parameters: Parameters): string {
  if (sight.everyone) return 'true'
  const itself = parameters.add(sight.userId, 'uuid')
  return `u.id in (select ${itself} union all select m.user_id from membership m where m.group_id = ${parameters.add(sight.groupId, 'uuid')})`
}

function isSteward({ role, disabled }: Pick<User, 'role' | 'disabled'>): boolean {
  return role === 'admin' && !disabled
}

function dethrones(user: User, change: KeptUserChange): boolean {
  const { role = user.role, disabled = user.disabled } = change
  return isSteward(user) && !isSteward({ role, disabled })
}

/** The user as it is now, and the audit of how it became so: which fields, never what is in them. */
async function written(
  tx: Transaction,
  caller: Caller,
  { operation, id, fields }: { readonly operation: string; readonly id: string; readonly fields: readonly string[] },
): Promise<User> {
  const [user] = await tx.rows(read, [id])
  if (user === undefined) throw new FleetError('internal', 'internal error', { detail: `user ${id} vanished` })
  const object = { kind: 'user', id, name: user.name }
  await writeAudit(tx, [{ by: actorOn(null, caller), operation, object, result: 'done', detail: { fields } }])
  return user
}

const UNIQUE_VIOLATION = '23505'

/** @throws exists, in the place of what Postgres says of a name, or of a certificate, that is another's. */
async function named<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    if (sqlState(error) !== UNIQUE_VIOLATION) throw error
    const isName = error instanceof Error && 'table' in error && error.table === 'fleet_user'
    const [field, message] = isName
      ? ['name', `value '${name}' is not unique`]
      : ['certificates', 'one of them stands for another user']
    throw new FleetError('exists', message, { field, cause: error })
  }
}
