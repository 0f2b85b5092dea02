import type { Logger } from '../shared/logger.ts'
import type { FleetView } from './core/fleet-view.ts'
import { createLentVolumes, type LentVolumes } from './core/lent-volumes.ts'
import type { PointOrders } from './core/point-orders.ts'
import type { Targets } from './core/targets.ts'
import type { Sql } from './db/sql.ts'
import { createClock } from './db/stores/clock-store.ts'
import { createLoanStore } from './db/stores/loan-store.ts'
import { secretRows } from './db/stores/secret-store.ts'
import { createVolumeBackupStore } from './db/stores/volume-backup-store.ts'
import type { Lending } from './open-upstream.ts'
import type { Tick } from './schedule/bree.ts'
import { createLendingTick } from './schedule/ticks/lending-tick.ts'
import { createSecrets } from './secrets/secrets.ts'
import type { Vault } from './secrets/vault.ts'

const TICK_MS = 1_000

/** Backups of volumes that the block service behind us has, and what is borrowed of it for them. */
export function openLending(deps: {
  readonly sql: Sql
  readonly vault: Vault
  readonly lending: Lending
  readonly points: PointOrders
  readonly targets: Pick<Targets, 'get'>
  readonly fleet: FleetView
  readonly groupNamed: (name: string) => Promise<string | undefined>
  readonly patienceMs?: number
  readonly logger: Logger
}): { readonly lentVolumes: LentVolumes; readonly tick: Tick } {
  const { sql, vault, lending, points, targets, fleet, groupNamed, patienceMs, logger } = deps
  const store = createLoanStore(sql, (within) => createSecrets({ rows: secretRows(within), vault }))
  const backups = createVolumeBackupStore(sql)
  const parts = { store, backups, points, fleet, service: lending.service }
  return {
    lentVolumes: createLentVolumes({ ...parts, asCaller: lending.asCaller, targets, groupNamed, patienceMs }),
    tick: { everyMs: TICK_MS, run: createLendingTick({ ...parts, now: createClock(sql), logger }) },
  }
}
