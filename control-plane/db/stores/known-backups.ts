import { z } from 'zod'
import type { VolumeBackupInfo } from '../../core/volume-backups.ts'
import { type Sql, statement } from '../sql.ts'
import { BACKUP_COLUMNS, BACKUP_JOINS, BackupColumns } from './volume-backup-columns.ts'

/** Some kilobytes each at most; who lists more reads all of them each time. */
const MAX_KNOWN = 20_000

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

const read = statement(
  'volume_backup_read',
  BackupColumns,
  `select ${BACKUP_COLUMNS} from volume_backup b ${BACKUP_JOINS} where b.id = any($1::uuid[])`,
)

const targetNames = statement(
  'volume_backup_targets',
  z.object({ id: z.string(), name: z.string() }),
  'select id, name from target where group_id = $1',
)

interface Keyed {
  readonly ordinal: string
  readonly backup: VolumeBackupInfo
}

interface ListQuestion {
  readonly groupId: string
  /** Only those before it. */
  readonly before: string | null
  readonly volumeId: string | null
  readonly name: string | null
  readonly limit: number
}

/**
 * Lists of backups, each of which is read once for each of its versions: rows are wide, and of thousands hardly any has changed since the
 * last list. What has no version of its own (progress, a target's name) is asked for each time.
 */
export function createKnownBackups(sql: Sql) {
  const known = new Map<string, VolumeBackupInfo>()

  function remember(backup: VolumeBackupInfo): void {
    known.delete(backup.id)
    known.set(backup.id, backup)
    if (known.size <= MAX_KNOWN) return
    const oldest = known.keys().next().value
    if (oldest !== undefined) known.delete(oldest)
  }

  async function named(groupId: string, ids: ReadonlySet<string>): Promise<ReadonlyMap<string, string>> {
    if (ids.size === 0) return new Map()
    return new Map((await sql.rows(targetNames, [groupId])).map(({ id, name }) => [id, name]))
  }

  return {
    async list({ groupId, before, volumeId, name, limit }: ListQuestion): Promise<readonly Keyed[]> {
      const [row] = await sql.rows(keys, [groupId, before, volumeId, name, limit])
      const found = row?.keys ? row.keys.split(',').map((key) => key.split(' ')) : []
      // Taken now: what is remembered may be forgotten while others are read.
      const kept = new Map<string, VolumeBackupInfo>()
      const missing: string[] = []
      const targets = new Set<string>()
      for (const [id = '', , version, isBusy, target] of found) {
        const backup = isBusy === 't' ? undefined : known.get(id)
        if (backup?.version === Number(version)) kept.set(id, backup)
        else missing.push(id)
        if (target !== undefined) targets.add(target)
      }
      const [rows, names] = await Promise.all([
        missing.length === 0 ? [] : sql.rows(read, [missing]),
        named(groupId, targets),
      ])
      const fresh = new Map(rows.map(({ info }) => [info.id, info]))
      for (const info of fresh.values()) remember(info)
      return found.flatMap(([id = '', ordinal = '']) => {
        // One that went in between is in neither.
        const backup = fresh.get(id) ?? kept.get(id)
        return backup === undefined ? [] : [{ ordinal, backup: withName(backup, names) }]
      })
    },
  }
}

function withName(backup: VolumeBackupInfo, names: ReadonlyMap<string, string>): VolumeBackupInfo {
  const name = backup.target === null ? undefined : names.get(backup.target.id)
  if (backup.target === null || name === undefined || name === backup.target.name) return backup
  return { ...backup, target: { id: backup.target.id, name } }
}
