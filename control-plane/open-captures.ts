import type { NatsConnection } from 'nats'
import type { Logger } from '../shared/logger.ts'
import type { FleetView } from './core/fleet-view.ts'
import { createInstanceBackups } from './core/instance-backup-operations.ts'
import type { InstanceBackups, InstanceSnapshotOrders } from './core/instance-captures.ts'
import { createInstanceSnapshots } from './core/instance-snapshots.ts'
import type { InstanceReader } from './core/instances.ts'
import type { PointOrders } from './core/point-orders.ts'
import type { HostSeal } from './core/secrets.ts'
import type { Targets } from './core/targets.ts'
import type { VolumeBackupOrders } from './core/volume-backups.ts'
import type { Sql } from './db/sql.ts'
import { createCaptureOrderStore } from './db/stores/capture-order-store.ts'
import type { ChangeStore } from './db/stores/change-store.ts'
import { createInstanceBackupStore } from './db/stores/instance-backup-store.ts'
import { createInstanceBackupTickStore } from './db/stores/instance-backup-tick-store.ts'
import { createInstanceSnapshotStore } from './db/stores/instance-snapshot-store.ts'
import { createHostReads } from './hosts/host-reads.ts'
import { createCaptureBook } from './jobs/capture-book.ts'
import type { Dispatch } from './jobs/dispatch.ts'
import type { Tick } from './schedule/bree.ts'
import { createInstanceBackupTick } from './schedule/ticks/instance-backup-tick.ts'

const TICK_MS = 1_000

/** Snapshots and backups of instances with all that they are made of. */
export function openCaptures(deps: {
  readonly sql: Sql
  readonly nats: NatsConnection
  readonly seal: HostSeal
  readonly changes: Pick<ChangeStore, 'expect'>
  readonly dispatch: Pick<Dispatch, 'send' | 'wake'>
  readonly points: Pick<PointOrders, 'order' | 'delete'>
  readonly targets: Pick<Targets, 'get'>
  readonly volumeBackups: VolumeBackupOrders
  readonly instances: Pick<InstanceReader, 'find' | 'named'>
  readonly fleet: FleetView
  readonly now?: () => number
  readonly logger: Logger
}): {
  readonly instanceSnapshots: InstanceSnapshotOrders
  readonly instanceBackups: InstanceBackups
  readonly tick: Tick
} {
  const { sql, nats, seal, changes, dispatch, points, targets, volumeBackups, instances, fleet, now, logger } = deps
  const book = createCaptureBook({ store: createCaptureOrderStore(sql), changes, dispatch, now })
  const reads = createHostReads({ nats, seal })
  const reader = createInstanceSnapshotStore(sql)
  const store = createInstanceBackupStore(sql)
  const tickStore = createInstanceBackupTickStore(sql)
  const instanceSnapshots = createInstanceSnapshots({ book, reader, instances, fleet, reads })
  const parts = { points, volumeBackups, instanceSnapshots, instances, fleet }
  return {
    instanceSnapshots,
    instanceBackups: createInstanceBackups({ ...parts, store, targets, reads }),
    tick: { everyMs: TICK_MS, run: createInstanceBackupTick({ ...parts, store: tickStore, backups: store, logger }) },
  }
}
