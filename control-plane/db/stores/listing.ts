import { z } from 'zod'
import type { Listing, ListRequest } from '../../core/query.ts'
import { filterSql, Parameters, type SqlField, sortSql } from '../query-sql.ts'
import { type Sql, statement } from '../sql.ts'

export interface ListedTable<Row extends z.ZodType> {
  readonly row: Row
  readonly columns: string
  /** `user_group g`, with joins if there are any. */
  readonly from: string
  readonly fields: Readonly<Record<string, SqlField>>
  /** Unique, and in order of creation. */
  readonly tieBreak: string
}

const Count = z.object({ total: z.coerce.number() })

/**
 * One slice of a table and its length. The texts depend on what is asked, so they have no names: Postgres would keep
 * every one of them for the life of the connection.
 * @param sight what the caller may see, as a boolean expression.
 */
export async function readListing<Row extends z.ZodType>(
  sql: Sql,
  table: ListedTable<Row>,
  request: ListRequest,
  sight: (parameters: Parameters) => string,
): Promise<Listing<z.output<Row>>> {
  const counted = new Parameters()
  const where = whereSql(table, request, sight, counted)
  const shown = new Parameters()
  const text = `select ${table.columns} from ${table.from}
    where ${whereSql(table, request, sight, shown)}
    order by ${sortSql(request.sort, table.fields, shown)}${table.tieBreak}
    limit ${shown.add(request.limit, 'bigint')} offset ${shown.add(request.offset, 'bigint')}`
  const [items, [count]] = await Promise.all([
    sql.rows(statement('', table.row, text), shown.values),
    sql.rows(statement('', Count, `select count(*) as total from ${table.from} where ${where}`), counted.values),
  ])
  return { items, total: count?.total ?? 0 }
}

function whereSql(
  table: ListedTable<z.ZodType>,
  { filter }: ListRequest,
  sight: (parameters: Parameters) => string,
  parameters: Parameters,
): string {
  const visible = sight(parameters)
  return filter === undefined ? visible : `${visible} and ${filterSql(filter, table.fields, parameters)}`
}
