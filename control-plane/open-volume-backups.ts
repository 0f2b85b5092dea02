import type { Logger } from '../shared/logger.ts'
import type { PointOrders } from './core/point-orders.ts'
import { createVolumeBackups } from './core/volume-backup-operations.ts'
import type { VolumeBackupOrders } from './core/volume-backups.ts'
import type { VolumeOrders } from './core/volumes.ts'
import type { Sql } from './db/sql.ts'
import { createClock } from './db/stores/clock-store.ts'
import { secretRows } from './db/stores/secret-store.ts'
import { createTargetStore } from './db/stores/target-store.ts'
import { createVolumeBackupStore } from './db/stores/volume-backup-store.ts'
import { createVolumeBackupTickStore } from './db/stores/volume-backup-tick-store.ts'
import type { Tick } from './schedule/bree.ts'
import { createVolumeBackupTick } from './schedule/ticks/volume-backup-tick.ts'
import { createSecrets } from './secrets/secrets.ts'
import type { Vault } from './secrets/vault.ts'

const TICK_MS = 1_000

/** Backups of volumes, and what deletes them and what they no longer need. */
export function openVolumeBackups(deps: {
  readonly sql: Sql
  readonly vault: Vault
  readonly points: PointOrders
  readonly volumes: VolumeOrders
  readonly logger: Logger
}): { readonly volumeBackups: VolumeBackupOrders; readonly tick: Tick } {
  const { sql, vault, points, volumes, logger } = deps
  const targets = createTargetStore(sql, (within) => createSecrets({ rows: secretRows(within), vault }))
  const store = createVolumeBackupTickStore(sql)
  return {
    volumeBackups: createVolumeBackups({ store: createVolumeBackupStore(sql), points, volumes, targets }),
    tick: { everyMs: TICK_MS, run: createVolumeBackupTick({ store, points, now: createClock(sql), logger }) },
  }
}
