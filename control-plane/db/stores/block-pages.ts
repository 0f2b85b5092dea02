import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { BlockFilter } from '../../core/block-volumes.ts'
import type { Page, PageRequest } from '../../core/page.ts'
import { type Sql, statement } from '../sql.ts'

/** Behind every time and every id. */
const END = ['infinity', 'ffffffff-ffff-ffff-ffff-ffffffffffff'] as const

/** Two kinds of rows as one list, newest first; each is read in its own order and no further than the page goes. */
export function createBlockPages<Row extends z.ZodType>(given: {
  /** `block_volume` */
  readonly name: string
  readonly row: Row
  readonly kinds: readonly [string, string]
  /** A condition more, over `s`; its parameter is `$8`. */
  readonly also?: string
}) {
  const { name, row, kinds, also = '$8::uuid is null' } = given
  const PLACE = '(s.created_at, s.id) < ($2::timestamptz, $3::uuid)'
  const FILTER = `($4::text is null or s.name = $4) and ($5::text is null or s.status = $5) and s.metadata @> $6::jsonb and (${also})`
  const branch = (kind: string, whose: string) =>
    `(select s.* from (${kind}) s where ${whose} and ${PLACE} and ${FILTER} order by s.created_at desc, s.id desc limit $7)`
  const listOf = (which: string, whose: string) =>
    statement(
      `${name}_page${which}`,
      row,
      `select * from (
         ${branch(kinds[0], whose)}
         union all
         ${branch(kinds[1], whose)}
       ) both_kinds
       order by created_at desc, id desc
       limit $7`,
    )
  const listGroup = listOf('', 's.group_id = $1')
  const listAll = listOf('_all', '$1::uuid is null')
  const byId = (kind: string) => `select s.* from (${kind}) s where s.id = $2 and ($1::uuid is null or s.group_id = $1)`
  const find = statement(`${name}_find`, row, `${byId(kinds[0])} union all ${byId(kinds[1])}`)
  /** To the microsecond, which a Date does not hold. */
  const marker = statement(
    `${name}_marker`,
    z.object({ at: z.string() }),
    `select m.created_at::text as at from (${byId(kinds[0])} union all ${byId(kinds[1])}) m`,
  )
  const isId = (id: string) => z.uuid().safeParse(id).success

  async function placeOf(sql: Pick<Sql, 'rows'>, groupId: string | null, cursor: string | undefined) {
    if (cursor === undefined) return END
    const [found] = isId(cursor) ? await sql.rows(marker, [groupId, cursor]) : []
    if (found !== undefined) return [found.at, cursor] as const
    throw new FleetError('invalid', 'marker: names nothing that is in this list', { field: 'marker' })
  }

  return {
    async find(sql: Pick<Sql, 'rows'>, groupId: string | null, id: string): Promise<z.infer<Row> | undefined> {
      return isId(id) ? (await sql.rows(find, [groupId, id]))[0] : undefined
    },

    async list(
      sql: Pick<Sql, 'rows'>,
      groupId: string | null,
      filter: BlockFilter,
      { limit, cursor }: PageRequest,
    ): Promise<Page<z.infer<Row>>> {
      const { name: called, status, metadata = {}, volumeId } = filter
      if (volumeId !== undefined && !isId(volumeId)) return { items: [], nextCursor: null }
      const place = await placeOf(sql, groupId, cursor)
      const values = [called ?? null, status ?? null, JSON.stringify(metadata), limit + 1, volumeId ?? null]
      const rows = await sql.rows(groupId === null ? listAll : listGroup, [groupId, ...place, ...values])
      const items = rows.slice(0, limit)
      // as: every row of these has an id
      const last = items.at(-1) as { readonly id: string } | undefined
      return { items, nextCursor: rows.length > limit && last ? last.id : null }
    },
  }
}
