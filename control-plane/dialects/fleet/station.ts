import { z } from 'zod'
import type { StationBackup } from '../../core/station.ts'
import { route } from '../../http/route.ts'
import { PageQuery, pageOf, Timestamp } from './schemas.ts'

export const StationBackupView = z.object({
  id: z.string(),
  trigger: z.enum(['due', 'asked']),
  state: z.enum(['running', 'good', 'failed']),
  asked_by: z.string(),
  started_at: Timestamp,
  ended_at: Timestamp.nullable(),
  file: z.string().nullable().meta({ description: 'Where it lies, on the replica that made it' }),
  stored_bytes: z.number().int().nullable(),
  sha256: z.string().nullable().meta({ description: 'Of the file' }),
  encrypted: z.boolean().nullable(),
  keys: z.boolean().nullable().meta({ description: 'Whether the keys of the station are in it' }),
  reason: z.string().nullable().meta({ description: 'Why it failed' }),
  evicted_at: Timestamp.nullable().meta({ description: 'When it made way for newer ones' }),
})
type StationBackupView = z.infer<typeof StationBackupView>

export const listStationBackups = route({
  operation: 'listStationBackups',
  method: 'GET',
  path: '/api/v1/station/backups',
  summary: 'Backups of the station itself (its database, its keys), newest first',
  description: 'Needs the role admin over the fleet.',
  access: 'admin',
  status: 200,
  query: PageQuery,
  result: pageOf(StationBackupView),

  async handle({ query, caller }, core) {
    const { items, nextCursor } = await core.station.backups(caller, query)
    return { status: 200, body: { items: items.map(present), next_cursor: nextCursor } }
  },
})

export const backUpStation = route({
  operation: 'backUpStation',
  method: 'POST',
  path: '/api/v1/station/backups',
  summary: 'Back the station up now',
  description:
    'Answers at once with the backup that has begun; the list tells how it ended. 409 while one is made, 503 where HOLDFAST_STATION_BACKUP_DIR is not set. Needs the role admin over the fleet.',
  access: 'admin',
  status: 202,
  result: StationBackupView,
  errors: [409, 503],

  async handle({ caller }, core) {
    return { status: 202, body: present(await core.station.backUp(caller)) }
  },
})

function present(backup: StationBackup): StationBackupView {
  return {
    id: backup.id,
    trigger: backup.trigger,
    state: backup.state,
    asked_by: backup.askedBy,
    started_at: backup.startedAt.toISOString(),
    ended_at: backup.endedAt?.toISOString() ?? null,
    file: backup.file,
    stored_bytes: backup.storedBytes,
    sha256: backup.sha256,
    encrypted: backup.encrypted,
    keys: backup.keys,
    reason: backup.reason,
    evicted_at: backup.evictedAt?.toISOString() ?? null,
  }
}
