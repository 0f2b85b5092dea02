import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import {
  BLOCK_SORT_KEYS,
  type BlockFilter,
  type BlockOrder,
  type BlockPage,
  type BlockPageRequest,
  type TimeRange,
} from '../../core/block-volumes.ts'
import { type Sql, statement } from '../sql.ts'

/** What is sorted by, and its type. Null is the least. */
const KEYS: Readonly<Record<BlockOrder['key'], readonly [expression: string, type: string]>> = {
  created_at: ['s.created_at', 'timestamptz'],
  updated_at: [`coalesce(s.updated_at, '-infinity')`, 'timestamptz'],
  name: [`coalesce(s.name, '')`, 'text'],
  size: ['s.size_bytes', 'bigint'],
  status: ['s.status', 'text'],
  id: ['s.id', 'uuid'],
}
const NEWEST_FIRST: BlockOrder = { key: 'created_at', isAscending: false }
/** Before and behind every time, so that the first page is read by the index as the others are. */
const ENDS = {
  asc: ['-infinity', '00000000-0000-0000-0000-000000000000'],
  desc: ['infinity', 'ffffffff-ffff-ffff-ffff-ffffffffffff'],
} as const
const COMPARISONS = { gt: '>', gte: '>=', lt: '<', lte: '<=' } as const

/** Two kinds of rows as one list; each is read in that order and no further than the page goes. */
export function createBlockPages<Row extends z.ZodType>(given: {
  /** `block_volume` */
  readonly name: string
  readonly row: Row
  readonly kinds: readonly [string, string]
  /** A condition more, over `s`; its parameter is `$8`. */
  readonly also?: string
}) {
  const { name, row, kinds, also = '($8::boolean is null or s.is_bootable = $8)' } = given
  const FILTER = [
    '($4::text is null or s.name = $4) and ($5::text is null or s.status = $5) and s.metadata @> $6::jsonb',
    also,
    ...['created_at', 'updated_at'].flatMap((column) =>
      Object.entries(COMPARISONS).map(
        ([word, sign]) =>
          `(not $10::jsonb ? '${column}.${word}' or s.${column} ${sign} ($10::jsonb ->> '${column}.${word}')::timestamptz)`,
      ),
    ),
  ].join(' and ')
  const whoseOf = (isAll: boolean) => (isAll ? '$1::uuid is null' : 's.group_id = $1')

  function listOf({ key, isAscending }: BlockOrder, isAll: boolean) {
    const [expression, type] = KEYS[key]
    const direction = isAscending ? 'asc' : 'desc'
    const behind = `(${expression}, s.id) ${isAscending ? '>' : '<'} ($2::${type}, $3::uuid)`
    const place = key === 'created_at' ? behind : `($2::text is null or ${behind})`
    const order = `${expression} ${direction}, s.id ${direction}`
    const branch = (kind: string) =>
      `(select s.* from (${kind}) s where ${whoseOf(isAll)} and ${place} and ${FILTER} order by ${order} limit $7::bigint + $9::bigint)`
    const text = `select *
       from (
         ${branch(kinds[0])}
         union all
         ${branch(kinds[1])}
       ) s
       order by ${order}
       limit $7 offset $9`
    return statement(`${name}_page_${key}_${direction}${isAll ? '_all' : ''}`, row, text)
  }

  const byId = (kind: string) => `select s.* from (${kind}) s where s.id = $2 and ($1::uuid is null or s.group_id = $1)`
  const find = statement(`${name}_find`, row, `${byId(kinds[0])} union all ${byId(kinds[1])}`)
  /** To the microsecond, which a Date does not hold. */
  const markerOf = (key: BlockOrder['key']) =>
    statement(
      `${name}_marker_${key}`,
      z.object({ at: z.string() }),
      `select (${KEYS[key][0]})::text as at from (${byId(kinds[0])} union all ${byId(kinds[1])}) s`,
    )
  const markers = new Map(BLOCK_SORT_KEYS.map((key) => [key, markerOf(key)]))
  const countOf = (isAll: boolean) => {
    const branch = (kind: string) => `select s.id from (${kind}) s where ${whoseOf(isAll)} and ${FILTER}`
    const unused = '$2::text is null and $3::text is null and $7::text is null and $9::text is null'
    return statement(
      `${name}_count${isAll ? '_all' : ''}`,
      z.object({ count: z.coerce.number() }),
      `select count(*) as count from (${branch(kinds[0])} union all ${branch(kinds[1])}) both_kinds where ${unused}`,
    )
  }
  const counts = [countOf(false), countOf(true)] as const
  const isId = (id: string) => z.uuid().safeParse(id).success

  async function placeOf(
    sql: Pick<Sql, 'rows'>,
    groupId: string | null,
    { cursor, order: { key, isAscending } }: { readonly cursor: string | undefined; readonly order: BlockOrder },
  ) {
    if (cursor === undefined) return key === 'created_at' ? ENDS[isAscending ? 'asc' : 'desc'] : [null, null]
    const marker = markers.get(key)
    const [found] = marker && isId(cursor) ? await sql.rows(marker, [groupId, cursor]) : []
    if (found !== undefined) return [found.at, cursor] as const
    throw new FleetError('invalid', 'marker: names nothing that is in this list', { field: 'marker' })
  }

  return {
    async find(sql: Pick<Sql, 'rows'>, groupId: string | null, id: string): Promise<z.infer<Row> | undefined> {
      return isId(id) ? (await sql.rows(find, [groupId, id]))[0] : undefined
    },

    /** @param which the parameter of `also` */
    async list(
      sql: Pick<Sql, 'rows'>,
      groupId: string | null,
      { filter, which }: { readonly filter: BlockFilter; readonly which: string | boolean | null },
      { limit, cursor, order = NEWEST_FIRST, offset = 0, isCounted = false }: BlockPageRequest,
    ): Promise<BlockPage<z.infer<Row>>> {
      const { name: called, status, metadata = {} } = filter
      const isAll = groupId === null
      const place = await placeOf(sql, groupId, { cursor, order })
      const filters = [called ?? null, status ?? null, JSON.stringify(metadata)]
      const times = JSON.stringify({
        ...timesOf('created_at', filter.created),
        ...timesOf('updated_at', filter.updated),
      })
      const values = [groupId, ...place, ...filters, limit + 1, which, offset, times]
      const rows = await sql.rows(listOf(order, isAll), values)
      const items = rows.slice(0, limit)
      // as: every row of these has an id
      const last = items.at(-1) as { readonly id: string } | undefined
      const page = { items, nextCursor: rows.length > limit && last ? last.id : null }
      if (!isCounted) return page
      const counted = [groupId, null, null, ...filters, null, which, null, times]
      const [row] = await sql.rows(isAll ? counts[1] : counts[0], counted)
      return { ...page, count: row?.count ?? 0 }
    },
  }
}

function timesOf(column: string, range: TimeRange = {}): Readonly<Record<string, Date>> {
  const given = Object.entries(range).filter(([, at]) => at !== undefined)
  return Object.fromEntries(given.map(([word, at]) => [`${column}.${word}`, at]))
}
