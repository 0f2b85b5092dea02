import type pg from 'pg'
import { FleetError } from '../../../shared/errors.ts'
import { createDataSource, knownMigrations, migrate } from '../data-source.ts'
import { type DatabaseHead, quoted, type TableHead, type TableRows } from './database-text.ts'
import { TEXT_SETTINGS } from './read-database.ts'

/** How far numbers go on: those that people see (`schedule 7`), and all others. */
const NUMBERS_JUMP = 1_000_000
export const ORDINALS_JUMP = 1_000_000_000

/** @throws conflict when anything is in it, or somebody else uses it. */
export async function requireEmpty(client: pg.Client): Promise<void> {
  const { rows } = await client.query(
    `select c.relname as name from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') limit 1`,
  )
  if (rows.length === 0) return
  throw new FleetError(
    'conflict',
    `the database of DATABASE_URL is not empty (it has a table '${rows[0].name}'): a station is restored into a new one, so that nothing is lost by it`,
  )
}

/** The schema as it was when the rows were written. @throws refused where that was a newer Holdfast's. */
export async function makeSchema(url: string, migrations: readonly string[]): Promise<void> {
  const known = new Set(knownMigrations())
  const unknown = migrations.find((name) => !known.has(name))
  if (unknown !== undefined) {
    const message = `the backup was made by a newer version of Holdfast, which has the migration ${unknown}: restore it with that`
    throw new FleetError('refused', message)
  }
  await migrated(url, migrations)
}

/** Brings the schema to this version's level. */
export async function finishSchema(url: string): Promise<void> {
  await migrated(url, undefined)
}

async function migrated(url: string, only: readonly string[] | undefined): Promise<void> {
  const db = createDataSource({ url, poolSize: 2, only })
  await db.initialize()
  try {
    await migrate(db)
  } finally {
    await db.destroy()
  }
}

/**
 * Fills a schema that has just been made, in one transaction. Numbers go on much further: none that was given out after the
 * backup is given out again.
 */
export async function writeDatabase(
  client: pg.Client,
  head: DatabaseHead,
  pieces: AsyncIterable<TableRows>,
): Promise<number> {
  const tables = new Map(head.tables.map((table) => [table.name, table]))
  let rows = 0
  await client.query('begin')
  try {
    for (const setting of TEXT_SETTINGS) await client.query(setting)
    // Made again below, where they check every row: rows come in no order.
    const references = await client.query(REFERENCES)
    for (const { owner, name } of references.rows) await client.query(`alter table ${owner} drop constraint ${name}`)
    for (const { name } of head.tables) await empty(client, name)
    for await (const piece of pieces) {
      const table = tables.get(piece.table)
      if (table === undefined)
        throw new FleetError('corrupt', `the backup has rows of a table '${piece.table}' and does not describe it`)
      rows += await insert(client, table, piece.text)
    }
    for (const { owner, name, definition } of references.rows)
      await client.query(`alter table ${owner} add constraint ${name} ${definition}`)
    for (const { name, last } of head.sequences)
      await client.query('select setval($1::regclass, $2)', [`public.${quoted(name)}`, (last ?? 0) + jumpOf(name)])
    await client.query('commit')
    return rows
  } catch (error) {
    await client.query('rollback').catch(() => undefined)
    throw error
  }
}

function jumpOf(sequence: string): number {
  return sequence.endsWith('_number_seq') ? NUMBERS_JUMP : ORDINALS_JUMP
}

const REFERENCES = `
  select conrelid::regclass::text as owner, quote_ident(conname) as name, pg_get_constraintdef(oid) as definition
  from pg_constraint
  where contype = 'f' and connamespace = 'public'::regnamespace
  order by conrelid, conname`

/** Of what migrations put there. Not where nothing is: the audit forbids even that. */
async function empty(client: pg.Client, table: string): Promise<void> {
  const { rows } = await client.query(`select exists (select 1 from ${quoted(table)}) as filled`)
  if (rows[0].filled) await client.query(`delete from ${quoted(table)}`)
}

async function insert(client: pg.Client, table: TableHead, text: string): Promise<number> {
  const names = table.columns.map(({ name }) => quoted(name)).join(', ')
  const values = table.columns.map(({ type }, n) => `(v ->> ${n})::${type}`).join(', ')
  const { rowCount } = await client.query(
    `insert into ${quoted(table.name)} (${names}) overriding system value select ${values} from jsonb_array_elements($1::jsonb) v`,
    [`[${text.trimEnd().replaceAll('\n', ',')}]`],
  )
  return rowCount ?? 0
}
