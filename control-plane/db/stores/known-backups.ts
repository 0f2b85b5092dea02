import { z } from 'zod'
import type { Page } from '../../core/page.ts'
import type { VolumeBackupInfo } from '../../core/volume-backups.ts'
import { type Sql, statement } from '../sql.ts'
import { BACKUP_COLUMNS, BACKUP_JOINS, BackupColumns } from './volume-backup-columns.ts'

/** Some kilobytes each at most; who lists more reads all of them each time. */
const MAX_KNOWN = 20_000
/** Long lists that are kept whole, each with what clients have made of it. */
const MAX_LISTS = 4
const LONG = 1_000

/**
 * Newest first, each as `<id> <ordinal> <version> <whether it is busy> <target>`: one text is parsed many times faster than rows. Each filter
 * is null when it was not asked for.
 */
const keys = statement(
  'volume_backup_keys',
  z.object({ keys: z.string() }),
  `select coalesce(string_agg(concat_ws(' ', id, ordinal, version, status in ('creating', 'restoring'), target_id), ',' order by ordinal desc), '')
     as keys
   from (
     select id, ordinal, version, status, target_id
     from volume_backup
     where group_id = $1 and ($2::bigint is null or ordinal < $2) and ($3::uuid is null or volume_id = $3)
       and ($4::text is null or name = $4)
     order by ordinal desc
     limit $5
   ) b`,
)

const readRows = statement(
  'volume_backup_read',
  BackupColumns,
  `select ${BACKUP_COLUMNS} from volume_backup b ${BACKUP_JOINS} where b.id = any($1::uuid[])`,
)

const targetNames = statement(
  'volume_backup_targets',
  z.object({ id: z.string(), name: z.string() }),
  'select id, name from target where group_id = $1',
)

interface ListQuestion {
  readonly groupId: string
  /** An ordinal: only those before it. */
  readonly before: string | null
  readonly volumeId: string | null
  readonly name: string | null
  readonly limit: number
}

/** A long list as it was last. */
interface KnownList {
  readonly keys: string
  readonly names: string
  readonly page: Page<VolumeBackupInfo>
}

/**
 * Lists of backups, each of which is read once for each of its versions: rows are wide, and of thousands hardly any has changed since the
 * last list. What has no version of its own (progress, a target's name) is asked for each time. A long list of which nothing has changed is the
 * very same object.
 */
export function createKnownBackups(sql: Sql) {
  const known = new Map<string, VolumeBackupInfo>()
  const lists = new Map<string, KnownList>()

  async function named(groupId: string, targets: ReadonlySet<string>): Promise<ReadonlyMap<string, string>> {
    if (targets.size === 0) return new Map()
    return new Map((await sql.rows(targetNames, [groupId])).map(({ id, name }) => [id, name]))
  }

  return {
    async list({ groupId, before, volumeId, name, limit }: ListQuestion): Promise<Page<VolumeBackupInfo>> {
      const question = [groupId, before, volumeId, name, limit + 1]
      const [row] = await sql.rows(keys, question)
      const text = row?.keys ?? ''
      const found = text === '' ? [] : text.split(',').map((key) => key.split(' '))
      const shown = found.slice(0, limit)
      const names = await named(groupId, new Set(shown.flatMap(([, , , , target]) => target ?? [])))
      const asked = JSON.stringify(question)
      const last = lists.get(asked)
      const told = JSON.stringify([...names])
      if (last?.keys === text && last.names === told) return last.page
      const items = await read(shown, names)
      const nextCursor = found.length > limit ? (shown.at(-1)?.[1] ?? null) : null
      const page = { items, nextCursor }
      const isSettled = items.length === shown.length && shown.every(([, , , isBusy]) => isBusy === 'f')
      if (items.length >= LONG && isSettled) keep(lists, asked, { keys: text, names: told, page }, MAX_LISTS)
      return page
    },
  }

  async function read(
    found: readonly (readonly string[])[],
    names: ReadonlyMap<string, string>,
  ): Promise<readonly VolumeBackupInfo[]> {
    // Taken now: what is remembered may be forgotten while others are read.
    const kept = new Map<string, VolumeBackupInfo>()
    const missing: string[] = []
    for (const [id = '', , version, isBusy] of found) {
      const backup = isBusy === 't' ? undefined : known.get(id)
      if (backup?.version === Number(version)) kept.set(id, backup)
      else missing.push(id)
    }
    const rows = missing.length === 0 ? [] : await sql.rows(readRows, [missing])
    for (const { info } of rows) {
      kept.set(info.id, info)
      keep(known, info.id, info, MAX_KNOWN)
    }
    return found.flatMap(([id = '']) => {
      // One that went in between is not there.
      const backup = kept.get(id)
      return backup === undefined ? [] : [withName(backup, names)]
    })
  }
}

/** What was kept longest goes for it, where there are too many. */
function keep<Value>(map: Map<string, Value>, key: string, value: Value, max: number): void {
  map.delete(key)
  map.set(key, value)
  if (map.size <= max) return
  const oldest = map.keys().next().value
  if (oldest !== undefined) map.delete(oldest)
}

function withName(backup: VolumeBackupInfo, names: ReadonlyMap<string, string>): VolumeBackupInfo {
  const name = backup.target === null ? undefined : names.get(backup.target.id)
  if (backup.target === null || name === undefined || name === backup.target.name) return backup
  return { ...backup, target: { id: backup.target.id, name } }
}
