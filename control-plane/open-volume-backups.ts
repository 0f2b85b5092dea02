import type { Logger } from '../shared/logger.ts'
import type { PointOrders } from './core/point-orders.ts'
import type { Targets } from './core/targets.ts'
import { createVolumeBackups } from './core/volume-backup-operations.ts'
import type { VolumeBackupOrders } from './core/volume-backups.ts'
import type { VolumeOrders } from './core/volumes.ts'
import type { Sql } from './db/sql.ts'
import { createClock } from './db/stores/clock-store.ts'
import { createVolumeBackupStore } from './db/stores/volume-backup-store.ts'
import { createVolumeBackupTickStore } from './db/stores/volume-backup-tick-store.ts'
import type { Tick } from './schedule/bree.ts'
import { createVolumeBackupTick } from './schedule/ticks/volume-backup-tick.ts'

const TICK_MS = 1_000

/** Backups of volumes, and what deletes them and what they no longer need. */
export function openVolumeBackups(deps: {
  readonly sql: Sql
  readonly points: PointOrders
  readonly targets: Pick<Targets, 'get'>
  readonly volumes: VolumeOrders
  readonly logger: Logger
}): { readonly volumeBackups: VolumeBackupOrders; readonly tick: Tick } {
  const { sql, points, targets, volumes, logger } = deps
  const store = createVolumeBackupTickStore(sql)
  return {
    volumeBackups: createVolumeBackups({ store: createVolumeBackupStore(sql), points, volumes, targets }),
    tick: { everyMs: TICK_MS, run: createVolumeBackupTick({ store, points, now: createClock(sql), logger }) },
  }
}
