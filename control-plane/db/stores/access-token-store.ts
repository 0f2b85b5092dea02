import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { newId } from '../../../shared/ids.ts'
import { actorOn } from '../../core/audit.ts'
import { type Caller, ROLES } from '../../core/caller.ts'
import type { TokenSight } from '../../core/token-rules.ts'
import type { AccessToken, AccessTokenStore, TOKEN_FIELDS, TokenChange } from '../../core/tokens.ts'
import type { Parameters, SqlFields } from '../query-sql.ts'
import { type Sql, sqlState, statement, type Transaction } from '../sql.ts'
import { writeAudit } from './audit-write.ts'
import { readListing } from './listing.ts'
import { lockStewards, requireSteward } from './stewards.ts'

const Columns = z.object({
  id: z.string(),
  document_id: z.string(),
  name: z.string(),
  role: z.enum(ROLES),
  user_id: z.string().nullable(),
  user_document_id: z.string().nullable(),
  group_id: z.string().nullable(),
  group_document_id: z.string().nullable(),
  tags: z.record(z.string(), z.string()),
  expires_at: z.date().nullable(),
  last_used_at: z.date().nullable(),
  version: z.coerce.number(),
  created_at: z.date(),
  updated_at: z.date(),
})

function endOf(id: string | null, documentId: string | null): AccessToken['owner'] {
  return id === null || documentId === null ? null : { id, documentId }
}

const TokenRow = Columns.transform(
  (row): AccessToken => ({
    id: row.id,
    documentId: row.document_id,
    name: row.name,
    role: row.role,
    owner: endOf(row.user_id, row.user_document_id),
    group: endOf(row.group_id, row.group_document_id),
    tags: row.tags,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }),
)

const COLUMNS = `t.id, t.document_id, t.name, t.role, t.user_id, u.document_id as user_document_id, t.group_id,
  g.document_id as group_document_id, t.tags, t.expires_at, t.last_used_at, t.version, t.created_at, t.updated_at`
const FROM = 'access_token t left join fleet_user u on u.id = t.user_id left join user_group g on g.id = t.group_id'

const FIELDS: SqlFields<typeof TOKEN_FIELDS> = {
  id: { kind: 'text', sql: 't.document_id' },
  name: { kind: 'text', sql: 't.name' },
  role: { kind: 'text', sql: 't.role' },
  owner: { kind: 'text', sql: 'u.document_id', nullable: true },
  group: { kind: 'text', sql: 'g.document_id', nullable: true },
  tags: { kind: 'map', sql: 't.tags' },
  expiresAt: { kind: 'time', sql: 't.expires_at', nullable: true },
  lastUsedAt: { kind: 'time', sql: 't.last_used_at', nullable: true },
  createdAt: { kind: 'time', sql: 't.created_at' },
  updatedAt: { kind: 'time', sql: 't.updated_at' },
}

const TABLE = { row: TokenRow, columns: COLUMNS, from: FROM, fields: FIELDS, tieBreak: 't.id' }

const find = statement(
  'access_token_find',
  TokenRow,
  `select ${COLUMNS}
   from ${FROM}
   where t.document_id = $1
     and ($2 or t.group_id = $5 or (t.user_id = $3 and ($4::uuid is null or t.group_id is null or t.group_id = $4)))`,
)

const read = statement('access_token_read', TokenRow, `select ${COLUMNS} from ${FROM} where t.id = $1`)

const resolve = statement(
  'access_token_ends',
  z.object({ user_id: z.string().nullable(), group_id: z.string().nullable() }),
  `select (select id from fleet_user where document_id = $1) as user_id,
     (select id from user_group where document_id = $2) as group_id`,
)

const insert = statement(
  'access_token_insert',
  z.unknown(),
  `insert into access_token (id, name, user_id, group_id, role, tags, expires_at, hash)
   values ($1, $2, $3, $4, $5, $6, $7, $8)`,
)

/** Nulls leave what is there, but for the expiry: `$6` tells whether it changes. */
const update = statement(
  'access_token_update',
  z.object({ id: z.string() }),
  `update access_token
   set name = coalesce($3, name),
     role = coalesce($4, role),
     tags = coalesce($5, tags),
     expires_at = case when $6 then $7 else expires_at end,
     version = version + 1,
     updated_at = now()
   where id = $1 and version = $2
   returning id`,
)

const remove = statement(
  'access_token_delete',
  z.object({ id: z.string() }),
  'delete from access_token where id = $1 and version = $2 returning id',
)

export function createAccessTokenStore(sql: Sql): AccessTokenStore {
  return {
    async find(id, sight) {
      const mine = sight.everyone ? [null, null, null] : [sight.userId, sight.ownGroupId, sight.groupId]
      const [token] = await sql.rows(find, [id, sight.everyone, ...mine])
      return token
    },

    list: (request, sight) => readListing(sql, TABLE, request, (parameters) => sightSql(sight, parameters)),

    async resolve({ user, group }) {
      const [row] = await sql.rows(resolve, [user, group])
      return { userId: row?.user_id ?? undefined, groupId: row?.group_id ?? undefined }
    },

    create: (caller, token) =>
      named(token.name, () =>
        sql.transaction(async (tx) => {
          const { name, userId, groupId, role, tags, expiresAt, hash } = token
          const id = newId()
          await tx.rows(insert, [id, name, userId, groupId, role, tags, expiresAt, hash])
          return written(tx, caller, { operation: 'token.create', id, detail: { role } })
        }),
      ),

    change: (caller, token, change) =>
      named(change.name ?? token.name, () =>
        sql.transaction(async (tx) => {
          const { id, version } = token
          const { name, role, tags, expiresAt } = change
          if (dethrones(token, change)) await lockStewards(tx)
          const expires = [expiresAt !== undefined, expiresAt ?? null]
          const [row] = await tx.rows(update, [id, version, name ?? null, role ?? null, tags ?? null, ...expires])
          if (row === undefined) return undefined
          if (dethrones(token, change)) await requireSteward(tx)
          return written(tx, caller, { operation: 'token.update', id, detail: { fields: Object.keys(change) } })
        }),
      ),

    delete: (caller, token) =>
      sql.transaction(async (tx) => {
        const { id, version, name } = token
        if (isSteward(token)) await lockStewards(tx)
        const [row] = await tx.rows(remove, [id, version])
        if (row === undefined) return undefined
        if (isSteward(token)) await requireSteward(tx)
        const object = { kind: 'token', id, name }
        const by = actorOn(token.group?.id ?? null, caller)
        await writeAudit(tx, [{ by, operation: 'token.delete', object, result: 'done' }])
        return token
      }),
  }
}

function sightSql(sight: TokenSight, parameters: Parameters): string {
  if (sight.everyone) return 'true'
  const mine = `t.user_id = ${parameters.add(sight.userId, 'uuid')}`
  const ofGroup = `t.group_id = ${parameters.add(sight.groupId, 'uuid')}`
  if (sight.ownGroupId === null) return `(${mine} or ${ofGroup})`
  const own = parameters.add(sight.ownGroupId, 'uuid')
  return `((${mine} and (t.group_id is null or t.group_id = ${own})) or ${ofGroup})`
}

/** A service's token that administers the fleet, and will tomorrow. */
function isSteward({ owner, group, role, expiresAt }: AccessToken): boolean {
  return owner === null && group === null && role === 'admin' && expiresAt === null
}

function dethrones(token: AccessToken, { role = token.role, expiresAt = token.expiresAt }: TokenChange): boolean {
  return isSteward(token) && !isSteward({ ...token, role, expiresAt })
}

/** The token as it is now, and the audit of how it became so. */
async function written(
  tx: Transaction,
  caller: Caller,
  {
    operation,
    id,
    detail,
  }: { readonly operation: string; readonly id: string; readonly detail: Readonly<Record<string, unknown>> },
): Promise<AccessToken> {
  const [token] = await tx.rows(read, [id])
  if (token === undefined) throw new FleetError('internal', 'internal error', { detail: `token ${id} vanished` })
  const object = { kind: 'token', id, name: token.name }
  const by = actorOn(token.group?.id ?? null, caller)
  await writeAudit(tx, [{ by, operation, object, result: 'done', detail }])
  return token
}

const UNIQUE_VIOLATION = '23505'
const FOREIGN_KEY_VIOLATION = '23503'

/** @throws exists, or invalid where the user or group has gone meanwhile, in the place of what Postgres says. */
async function named<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    const state = sqlState(error)
    if (state === UNIQUE_VIOLATION) {
      throw new FleetError('exists', `value '${name}' is not unique`, { field: 'name', cause: error })
    }
    if (state !== FOREIGN_KEY_VIOLATION) throw error
    throw new FleetError('invalid', 'its user or group is gone', { field: 'user', cause: error })
  }
}
