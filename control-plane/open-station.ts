import type { Logger } from '../shared/logger.ts'
import type { ControlPlaneConfig } from './config.ts'
import { createStation, type Station } from './core/station.ts'
import type { Sql } from './db/sql.ts'
import type { Committed } from './db/stores/change-write.ts'
import { createClock } from './db/stores/clock-store.ts'
import { createStationStore } from './db/stores/station-store.ts'
import type { Tick } from './schedule/bree.ts'
import { createStationBackups, type StationBackupSettings, type StationBackups } from './station/backups.ts'
import { readStationKeys } from './station/station-keys.ts'
import { writeBackup } from './station/write-backup.ts'

const TICK_MS = 5_000

export interface OpenStation {
  readonly station: Station
  readonly tick: Tick
  readonly state: StationBackups['state']
  stop(): Promise<void>
}

/** The station's own backups. @param purgeOrders drops what NATS still holds for agents; whatever holds is sent again. */
export async function openStation(deps: {
  readonly sql: Sql
  readonly origin: string
  readonly config: ControlPlaneConfig
  readonly purgeOrders: () => Promise<void>
  readonly afterCommit: (committed: Committed) => void
  readonly logger: Logger
}): Promise<OpenStation> {
  const { sql, config, afterCommit, logger } = deps
  const store = createStationStore(sql, deps.origin)
  if (await store.owesPurge()) {
    await deps.purgeOrders()
    await store.purged()
    logger.info({ event: 'station.restored' })
  }
  const recipients = config.HOLDFAST_STATION_BACKUP_RECIPIENTS
  const settings = settingsOf(config)
  const backups = createStationBackups({
    ...{ store, settings, afterCommit, logger },
    station: store.station,
    now: createClock(sql),
    webhook: config.HOLDFAST_ALERT_WEBHOOK !== undefined,
    write: (id, signal) =>
      writeBackup({
        ...{ url: config.DATABASE_URL, directory: settings?.directory ?? '', id, recipients, signal },
        // In the clear they would open every secret of the database beside them.
        keys: recipients.length > 0 ? readStationKeys(config) : [],
      }),
  })
  return {
    station: createStation({ list: store.list, begin: backups.begin }),
    tick: { everyMs: TICK_MS, run: backups.tick },
    state: backups.state,
    stop: backups.stop,
  }
}

function settingsOf(config: ControlPlaneConfig): StationBackupSettings | undefined {
  const { HOLDFAST_STATION_BACKUP_DIR: directory, HOLDFAST_STATION_BACKUP_KEEP: keep } = config
  if (directory === undefined) return undefined
  const [hours = 0, minutes = 0] = config.HOLDFAST_STATION_BACKUP_AT.split(':').map(Number)
  const recurrence = {
    repeat: 'daily',
    startSeconds: hours * 3_600 + minutes * 60,
    timezone: config.HOLDFAST_TIMEZONE,
  } as const
  return { directory, keep, recurrence }
}
