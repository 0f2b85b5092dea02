import type { NatsConnection } from 'nats'
import type { Logger } from '../shared/logger.ts'
import { createExports } from './core/export-orders.ts'
import type { ExportOrders } from './core/exports.ts'
import type { FleetView } from './core/fleet-view.ts'
import type { HostSeal } from './core/secrets.ts'
import { createVolumes } from './core/volume-orders.ts'
import type { VolumeOrders } from './core/volumes.ts'
import type { Sql } from './db/sql.ts'
import type { ChangeStore } from './db/stores/change-store.ts'
import { createExportStore } from './db/stores/export-store.ts'
import { createExportWatchStore } from './db/stores/export-watch-store.ts'
import { createPointStore } from './db/stores/point-store.ts'
import { secretRows } from './db/stores/secret-store.ts'
import { createTargetStore } from './db/stores/target-store.ts'
import { createVolumeOrderStore } from './db/stores/volume-order-store.ts'
import { createVolumeStore } from './db/stores/volume-store.ts'
import { createExportWatch, type ExportWatch } from './hosts/export-watch.ts'
import { createHostReads } from './hosts/host-reads.ts'
import type { Dispatch } from './jobs/dispatch.ts'
import { createVolumeBook } from './jobs/volume-book.ts'
import { createSecrets } from './secrets/secrets.ts'
import type { Vault } from './secrets/vault.ts'

export interface OpenVolumes {
  readonly volumes: VolumeOrders
  readonly exports: ExportOrders
  /** Keeps hosts at what Postgres says that they export. */
  readonly watch: ExportWatch
}

/** Volumes of pools, and their exports. */
export function openVolumes(deps: {
  readonly sql: Sql
  readonly vault: Vault
  readonly nats: NatsConnection
  readonly seal: HostSeal
  readonly changes: Pick<ChangeStore, 'expect'>
  readonly dispatch: Pick<Dispatch, 'send' | 'wake'>
  readonly fleet: FleetView
  readonly now?: () => number
  readonly logger: Logger
}): OpenVolumes {
  const { sql, vault, nats, seal, changes, dispatch, fleet, now, logger } = deps
  const reads = createHostReads({ nats, seal })
  const store = createVolumeOrderStore(sql, (tx) => createSecrets({ rows: secretRows(tx), vault }))
  const book = createVolumeBook({ store, changes, dispatch, now })
  const exportReader = createExportStore(sql)
  const volumes = createVolumes({
    ...{ book, reader: createVolumeStore(sql), exports: exportReader, fleet, reads },
    points: createPointStore(sql),
    targets: createTargetStore(sql, (tx) => createSecrets({ rows: secretRows(tx), vault })),
  })
  const exports = createExports({ book, reader: exportReader, fleet, reads })
  const watch = createExportWatch({ store: createExportWatchStore(sql), exports, logger })
  return { volumes, exports, watch }
}
