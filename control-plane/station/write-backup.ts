import type pg from 'pg'
import { FleetError } from '../../shared/errors.ts'
import { VERSION } from '../../shared/version.ts'
import { sqlState } from '../db/sql.ts'
import type { TableRows } from '../db/station/database-text.ts'
import { connectAlone, readDatabase } from '../db/station/read-database.ts'
import { nameOf, type Shelved, shelve } from './shelf.ts'
import { packed } from './station-archive.ts'
import type { Member } from './tar.ts'

/** SQLSTATE. */
const UNDEFINED_TABLE = '42P01'

export interface WrittenBackup extends Shelved {
  readonly encrypted: boolean
  readonly keys: boolean
}

/**
 * Writes the whole station into one new file in `directory`.
 * @param recipients `age1…`; none: whoever reads the file reads the database
 * @param keys to go with it
 * @throws unavailable (Postgres), no_space, refused, not_found (the directory); what the signal aborts with
 */
export async function writeBackup(what: {
  readonly url: string
  readonly directory: string
  readonly id: string
  readonly recipients: readonly string[]
  readonly keys: readonly Member[]
  readonly signal: AbortSignal
}): Promise<WrittenBackup> {
  const { directory, id, recipients, keys, signal } = what
  const client = await connectAlone(what.url, 'holdfast-backup')
  try {
    const station = await stationOf(client)
    const at = new Date()
    const parts = readDatabase(client, signal)
    const first = await parts.next()
    if (first.done || !('head' in first.value)) throw new Error('a database begins with its head')
    const head = {
      format: 1,
      id,
      station,
      version: VERSION,
      createdAt: at.toISOString(),
      keys: keys.map(({ name }) => name),
      database: first.value.head,
    } as const
    const name = nameOf({ station, id, at, encrypted: recipients.length > 0 })
    const bytes = packed({ head, keys, rows: rowsOf(parts) }, recipients)
    const written = await shelve(directory, name, bytes)
    return { ...written, encrypted: recipients.length > 0, keys: keys.length > 0 }
  } finally {
    await client.end().catch(() => undefined)
  }
}

async function* rowsOf(parts: ReturnType<typeof readDatabase>): AsyncGenerator<TableRows> {
  for await (const part of parts) if ('rows' in part) yield part
}

/** @throws conflict where no control plane of this version has used the database yet. */
async function stationOf(client: pg.Client): Promise<string> {
  const { rows } = await client.query('select id from station').catch((error: unknown) => {
    if (sqlState(error) !== UNDEFINED_TABLE) throw error
    const message = 'the database is not one of this version: start the control plane on it before it is backed up'
    throw new FleetError('conflict', message)
  })
  return String(rows[0]?.id)
}
