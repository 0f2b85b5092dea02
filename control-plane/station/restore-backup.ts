import { createReadStream } from 'node:fs'
import { FleetError } from '../../shared/errors.ts'
import { RESTORING } from '../db/data-source.ts'
import type { TableRows } from '../db/station/database-text.ts'
import { connectAlone } from '../db/station/read-database.ts'
import { settleRestored } from '../db/station/settle-restored.ts'
import { finishSchema, makeSchema, requireEmpty, writeDatabase } from '../db/station/write-database.ts'
import { type Head, type Part, unpacked } from './station-archive.ts'
import { writeStationKeys } from './station-keys.ts'
import type { Member } from './tar.ts'

export interface CheckedBackup {
  readonly head: Head
  readonly keys: readonly Member[]
}

/** Reads all of a backup and changes nothing. @throws corrupt, refused, not_found. */
export async function checkBackup(path: string, identities: readonly string[]): Promise<CheckedBackup> {
  let head: Head | undefined
  const keys: Member[] = []
  for await (const part of partsOf(path, identities)) {
    if ('head' in part) head = part.head
    if ('key' in part) keys.push(part.key)
  }
  if (head === undefined) throw new FleetError('corrupt', 'the backup is damaged: its head is missing')
  return { head, keys }
}

/**
 * Makes an empty database the one that was backed up. Whoever dies in between leaves one that no control plane starts on.
 * @param keysTo where its keys go; undefined: they stay in the backup
 * @throws corrupt, refused (of a newer version; identities), conflict (the database is not empty), exists (another key is there), unavailable.
 */
export async function restoreBackup(what: {
  readonly url: string
  readonly path: string
  readonly identities: readonly string[]
  readonly keysTo: string | undefined
}): Promise<{
  readonly head: Head
  readonly rows: number
  readonly jobs: number
  readonly restores: number
  readonly keys: readonly string[]
}> {
  const { url, path, identities, keysTo } = what
  // All of it is looked at before anything is written.
  const { head, keys } = await checkBackup(path, identities)
  const client = await connectAlone(url, 'holdfast-restore')
  try {
    await requireEmpty(client)
    const written = keysTo === undefined ? [] : await writeStationKeys(keysTo, keys)
    await client.query(`create table ${RESTORING} (since timestamptz not null default now())`)
    await makeSchema(url, head.database.migrations)
    const rows = await writeDatabase(client, head.database, rowsOf(partsOf(path, identities)))
    await finishSchema(url)
    const settled = await settleRestored(url, { id: head.id, madeAt: new Date(head.createdAt) })
    await client.query('analyze')
    return { head, rows, keys: written, ...settled }
  } finally {
    await client.end().catch(() => undefined)
  }
}

function partsOf(path: string, identities: readonly string[]): AsyncGenerator<Part> {
  return unpacked(createReadStream(path, { highWaterMark: 2 ** 18 }), identities)
}

async function* rowsOf(parts: AsyncIterable<Part>): AsyncGenerator<TableRows> {
  for await (const part of parts) if ('rows' in part) yield { ...part.rows, rows: 0 }
}
