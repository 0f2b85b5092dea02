import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { newId } from '../../../shared/ids.ts'
import { TargetConfig, TargetSecret } from '../../../shared/target-config.ts'
import { actorOn } from '../../core/audit.ts'
import type { Caller } from '../../core/caller.ts'
import type { Secrets } from '../../core/secrets.ts'
import type { KeptTarget, TargetStore, TargetValues } from '../../core/targets.ts'
import { type Sql, sqlState, statement, type Transaction } from '../sql.ts'
import { writeAudit } from './audit-write.ts'

const SECRET_KIND = 'target-secret'
/** Named in an answer; of more only the first are. */
const MAX_BLOCKERS = 20
const UNIQUE_VIOLATION = '23505'
const FOREIGN_KEY_VIOLATION = '23503'

const TargetRow = z
  .object({
    id: z.string(),
    number: z.coerce.number(),
    group_id: z.string(),
    name: z.string(),
    description: z.string(),
    config: TargetConfig,
    secret_id: z.string().nullable(),
    recipients: z.array(z.string()),
    has_identity: z.boolean(),
    version: z.coerce.number(),
    created_at: z.date(),
  })
  .transform(
    (row): KeptTarget => ({
      id: row.id,
      number: row.number,
      groupId: row.group_id,
      name: row.name,
      description: row.description,
      config: row.config,
      hasSecret: row.secret_id !== null,
      secretId: row.secret_id,
      recipients: row.recipients,
      hasIdentity: row.has_identity,
      createdAt: row.created_at,
      version: row.version,
    }),
  )

const COLUMNS =
  'id, number, group_id, name, description, config, secret_id, recipients, has_identity, version, created_at'

const find = statement(
  'target_find',
  TargetRow,
  `select ${COLUMNS} from target where group_id = $1 and (id = $2::uuid or number = $3::bigint)`,
)

const list = statement(
  'target_list',
  TargetRow,
  `select ${COLUMNS}
   from target
   where group_id = $1 and number > $2
   order by number
   limit $3`,
)

const insert = statement(
  'target_insert',
  TargetRow,
  `insert into target (id, group_id, name, description, config, secret_id, recipients, has_identity)
   values ($1, $2, $3, $4, $5, $6, $7, $8)
   returning ${COLUMNS}`,
)

const update = statement(
  'target_update',
  TargetRow,
  `update target
   set name = $3, description = $4, config = $5, secret_id = $6, recipients = $7, has_identity = $8, version = version + 1,
     updated_at = now()
   where id = $1 and version = $2
   returning ${COLUMNS}`,
)

const lock = statement(
  'target_lock',
  z.object({ id: z.string() }),
  'select id from target where id = $1 and version = $2 for update',
)

const blockers = statement(
  'target_blockers',
  z.object({ id: z.string() }),
  `(select p.id::text as id
    from point_series s
    join point p on p.series_id = s.id
    where s.target_id = $1
    order by p.ordinal
    limit $2)
   union all
   (select 'schedule ' || name from schedule where target_id = $1 order by number limit $2)
   limit $2`,
)

const removeSeries = statement('target_delete_series', z.unknown(), 'delete from point_series where target_id = $1')
const remove = statement('target_delete', z.unknown(), 'delete from target where id = $1')

/** @param secretsIn seals and opens what stands in the rows that a transaction, or any connection, sees. */
export function createTargetStore(sql: Sql, secretsIn: (sql: Pick<Sql, 'rows'>) => Secrets): TargetStore {
  /** @returns where the secret is kept now. */
  async function keepSecret(tx: Transaction, groupId: string, before: string | null, secret: TargetSecret) {
    const secrets = secretsIn(tx)
    const isEmpty = Object.keys(secret).length === 0
    const bytes = Buffer.from(JSON.stringify(secret))
    if (before === null) return isEmpty ? null : secrets.put({ groupId, kind: SECRET_KIND, bytes })
    if (!isEmpty) await secrets.replace(before, bytes)
    return isEmpty ? null : before
  }

  return {
    async find(groupId, id) {
      const uuid = z.uuid().safeParse(id).success ? id : null
      const number = /^\d{1,15}$/.test(id) ? id : null
      if (uuid === null && number === null) return undefined
      const [target] = await sql.rows(find, [groupId, uuid, number])
      return target
    },

    async secret({ secretId }) {
      if (secretId === null) return undefined
      const bytes = await secretsIn(sql).open(secretId)
      return TargetSecret.parse(JSON.parse(bytes.toString()))
    },

    async list(groupId, { limit, cursor }) {
      const rows = await sql.rows(list, [groupId, parseCursor(cursor), limit + 1])
      const items = rows.slice(0, limit)
      const last = items.at(-1)
      return { items, nextCursor: rows.length > limit && last ? String(last.number) : null }
    },

    create: (caller, values) =>
      named(values.config.name, () =>
        sql.transaction(async (tx) => {
          const { groupId } = caller
          const secretId = await keepSecret(tx, groupId, null, values.secret ?? {})
          const [target] = await tx.rows(insert, [newId(), groupId, ...columnsOf(values, secretId, false)])
          if (target === undefined) throw new FleetError('internal', 'internal error', { detail: 'target not written' })
          await told(tx, caller, { operation: 'target.create', target })
          return target
        }),
      ),

    change: (caller, target, values, fields) =>
      named(values.config.name, () =>
        sql.transaction(async (tx) => {
          const { id, version, groupId, secretId: before, hasIdentity } = target
          const [locked] = await tx.rows(lock, [id, version])
          if (locked === undefined) return undefined
          const { secret } = values
          const secretId = secret === undefined ? before : await keepSecret(tx, groupId, before, secret)
          const [changed] = await tx.rows(update, [id, version, ...columnsOf(values, secretId, hasIdentity)])
          if (before !== null && secretId === null) await secretsIn(tx).delete(before)
          await told(tx, caller, { operation: 'target.update', target, detail: { fields } })
          return changed
        }),
      ),

    delete: (caller, target) =>
      unused(() =>
        sql.transaction(async (tx) => {
          const { id, version, secretId } = target
          // New series of it wait for this lock, and then find it gone.
          const [locked] = await tx.rows(lock, [id, version])
          if (locked === undefined) return undefined
          const found = (await tx.rows(blockers, [id, MAX_BLOCKERS])).map((point) => point.id)
          if (found.length > 0)
            throw new FleetError('conflict', 'points lie on the target, or schedules lead there', { blockers: found })
          await tx.rows(removeSeries, [id])
          await tx.rows(remove, [id])
          if (secretId !== null) await secretsIn(tx).delete(secretId)
          await told(tx, caller, { operation: 'target.delete', target })
          return true as const
        }),
      ),
  }
}

function columnsOf({ config, description, recipients, secret }: TargetValues, secretId: string | null, had: boolean) {
  const hasIdentity = secret === undefined ? had : secret.identity !== undefined
  return [config.name, description, JSON.stringify(config), secretId, JSON.stringify(recipients), hasIdentity]
}

function told(
  tx: Transaction,
  caller: Caller,
  what: {
    readonly operation: string
    readonly target: KeptTarget
    readonly detail?: Readonly<Record<string, unknown>>
  },
): Promise<void> {
  const { operation, target, detail } = what
  const object = { kind: 'target', id: target.id, name: target.name }
  return writeAudit(tx, [{ by: actorOn(target.groupId, caller), operation, object, result: 'done', detail }])
}

/** @throws conflict for one that a point came to lie on in that moment. */
async function unused<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    if (sqlState(error) !== FOREIGN_KEY_VIOLATION) throw error
    throw new FleetError('conflict', 'points lie on the target', { cause: error })
  }
}

/** @throws exists for a name that is taken. */
async function named<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    if (sqlState(error) !== UNIQUE_VIOLATION) throw error
    throw new FleetError('exists', `there is a target '${name}' already`, { field: 'config.name', cause: error })
  }
}

/** @throws invalid. */
function parseCursor(cursor: string | undefined): string {
  if (cursor === undefined) return '0'
  if (/^\d{1,15}$/.test(cursor)) return cursor
  throw new FleetError('invalid', 'cursor: is not one that this server gave', { field: 'cursor' })
}
