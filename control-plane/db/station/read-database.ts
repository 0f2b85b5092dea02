import pg from 'pg'
import { FleetError } from '../../../shared/errors.ts'
import { DatabaseHead, LEFT_OUT, quoted, type TableHead, type TableRows } from './database-text.ts'

const CONNECT_TIMEOUT_MS = 10_000
/** Rows asked for at once, and text handed on at once. */
const FETCH_ROWS = 500
const PIECE_CHARACTERS = 4 * 2 ** 20

/** A connection of its own: the pool's have settings that suit single rows. @throws unavailable. */
export async function connectAlone(url: string, name: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: name,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  })
  // What is asked next fails anyway.
  client.on('error', () => undefined)
  try {
    await client.connect()
    return client
  } catch (cause) {
    await client.end().catch(() => undefined)
    throw new FleetError('unavailable', 'the database cannot be reached', { cause })
  }
}

/** Columns are written the same whatever the server's or role's own settings are. */
export const TEXT_SETTINGS = [
  `set local timezone = 'UTC'`,
  `set local datestyle = 'ISO, YMD'`,
  `set local intervalstyle = 'postgres'`,
  `set local bytea_output = 'hex'`,
  'set local extra_float_digits = 1',
  // Longer than the file at the other end may stand still.
  `set local idle_in_transaction_session_timeout = '10min'`,
]

/**
 * Everything the fleet keeps, as of one moment: a repeatable read, so nobody waits for it and it waits for nobody.
 * @yields first the head, then the rows, a table after the other
 */
export async function* readDatabase(
  client: pg.Client,
  signal: AbortSignal,
): AsyncGenerator<{ readonly head: DatabaseHead } | TableRows> {
  await client.query('begin isolation level repeatable read, read only')
  try {
    for (const setting of TEXT_SETTINGS) await client.query(setting)
    const head = await readHead(client)
    yield { head }
    for (const table of head.tables) yield* readTable(client, table, signal)
  } finally {
    await client.query('rollback').catch(() => undefined)
  }
}

async function readHead(client: pg.Client): Promise<DatabaseHead> {
  // First: whatever is read of rows later is no newer than this snapshot, and sequences only run ahead of it.
  const migrations = await client.query('select name from schema_migration order by id')
  const columns = await client.query(COLUMNS, [LEFT_OUT])
  const sequences = await client.query(
    `select sequencename as name, last_value::text as last from pg_sequences where schemaname = 'public' order by sequencename`,
  )
  const tables = Map.groupBy(columns.rows, (row) => String(row.table_name))
  return DatabaseHead.parse({
    migrations: migrations.rows.map(({ name }) => name),
    tables: [...tables].map(([name, of]) => ({ name, columns: of.map((row) => ({ name: row.name, type: row.type })) })),
    sequences: sequences.rows
      .filter(({ name }) => name !== 'schema_migration_id_seq')
      .map(({ name, last }) => ({ name, last: last === null ? null : Number(last) })),
  })
}

const COLUMNS = `
  select c.relname as table_name, a.attname as name, format_type(a.atttypid, a.atttypmod) as type
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
  where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname <> 'schema_migration'
    and not c.relname = any($1::text[])
  order by c.relname, a.attnum`

async function* readTable(client: pg.Client, table: TableHead, signal: AbortSignal): AsyncGenerator<TableRows> {
  const columns = table.columns.map(({ name }) => `${quoted(name)}::text`).join(', ')
  await client.query(
    `declare rows no scroll cursor for select json_build_array(${columns})::text as line from only ${quoted(table.name)}`,
  )
  let lines: string[] = []
  let characters = 0
  const piece = (): TableRows => ({ table: table.name, text: `${lines.join('\n')}\n`, rows: lines.length })
  for (;;) {
    signal.throwIfAborted()
    const { rows } = await client.query(`fetch ${FETCH_ROWS} from rows`)
    for (const { line } of rows) {
      lines.push(line)
      characters += line.length
      if (characters < PIECE_CHARACTERS) continue
      yield piece()
      lines = []
      characters = 0
    }
    if (rows.length < FETCH_ROWS) break
  }
  if (lines.length > 0) yield piece()
  await client.query('close rows')
}
