import { z } from 'zod'
import type { SealedRow, SealedRows } from '../../core/secrets.ts'
import { type Sql, statement } from '../sql.ts'

const SecretRow = z
  .object({
    id: z.string(),
    group_id: z.string().nullable(),
    kind: z.string(),
    sealed: z.instanceof(Buffer),
    key_id: z.string(),
  })
  .transform(({ group_id, key_id, ...row }): SealedRow => ({ ...row, groupId: group_id, keyId: key_id }))

const Written = z.object({ id: z.string() })
const COLUMNS = 'id, group_id, kind, sealed, key_id'

const insert = statement(
  'secret_insert',
  Written,
  `insert into secret (${COLUMNS}) values ($1, $2, $3, $4, $5) on conflict (id) do nothing returning id`,
)

const find = statement('secret_find', SecretRow, `select ${COLUMNS} from secret where id = $1`)

const reseal = statement(
  'secret_reseal',
  Written,
  `update secret
   set sealed = $2, key_id = $3, version = version + 1, updated_at = now()
   where id = $1
   returning id`,
)

const remove = statement('secret_remove', z.unknown(), 'delete from secret where id = $1')

const lockOthers = statement(
  'secret_lock_others',
  SecretRow,
  `select ${COLUMNS}
   from secret
   where key_id <> $1 and id > $2
   order by id
   limit $3
   for update`,
)

const byKey = statement(
  'secret_by_key',
  z.object({ key_id: z.string(), rows: z.coerce.number() }),
  'select key_id, count(*) as rows from secret group by key_id',
)

/** Rows as a transaction, or any connection, sees them. */
export function secretRows(sql: Pick<Sql, 'rows'>): Omit<SealedRows, 'resealOthers'> {
  return {
    async insert({ id, groupId, kind, sealed, keyId }) {
      return (await sql.rows(insert, [id, groupId, kind, sealed, keyId])).length > 0
    },

    async find(id) {
      const [row] = await sql.rows(find, [id])
      return row
    },

    async reseal(row) {
      return (await sql.rows(reseal, [row.id, row.sealed, row.keyId])).length > 0
    },

    async remove(id) {
      await sql.rows(remove, [id])
    },

    async byKey() {
      const rows = await sql.rows(byKey, [])
      return new Map(rows.map((row) => [row.key_id, row.rows]))
    },
  }
}

export function createSecretStore(sql: Sql): SealedRows {
  return {
    ...secretRows(sql),

    resealOthers: ({ keyId, after, limit }, sealAgain) =>
      sql.transaction(async (tx) => {
        const rows = await tx.rows(lockOthers, [keyId, after, limit])
        let done = 0
        for (const row of rows) {
          const sealed = sealAgain(row)
          if (sealed === undefined) continue
          await tx.rows(reseal, [row.id, sealed, keyId])
          done += 1
        }
        return { last: rows.at(-1)?.id, done, left: rows.length - done }
      }),
  }
}
