import { z } from 'zod'
import { createBlockConnections } from './core/block-connections.ts'
import { createBlockSources } from './core/block-create.ts'
import { createBlockSnapshots } from './core/block-snapshot-orders.ts'
import { createBlockVolumes, type Servers } from './core/block-volume-orders.ts'
import type { BlockSnapshots, BlockVolumes } from './core/block-volumes.ts'
import type { Exports } from './core/exports.ts'
import type { FleetView } from './core/fleet-view.ts'
import type { Jobs } from './core/jobs.ts'
import type { Secrets } from './core/secrets.ts'
import type { VolumeBackups } from './core/volume-backups.ts'
import type { Volumes } from './core/volumes.ts'
import type { Sql } from './db/sql.ts'
import { createBlockSnapshotStore } from './db/stores/block-snapshot-store.ts'
import { createBlockVolumeStore } from './db/stores/block-volume-store.ts'
import { createExportSecrets, createExportStore } from './db/stores/export-store.ts'

/** Volumes and snapshots as the block API has them. */
export function openBlock(deps: {
  readonly sql: Sql
  readonly secrets: Pick<Secrets, 'open'>
  readonly volumes: Volumes
  readonly exports: Exports
  readonly backups: Pick<VolumeBackups, 'get' | 'restore'>
  readonly jobs: Pick<Jobs, 'settled'>
  readonly servers: Servers
  readonly fleet: FleetView
}): { readonly blockVolumes: BlockVolumes; readonly blockSnapshots: BlockSnapshots } {
  const { sql, secrets, volumes, exports, backups, jobs, servers, fleet } = deps
  const store = createBlockVolumeStore(sql)
  const snapshots = createBlockSnapshotStore(sql)
  const kept = createExportSecrets(sql, secrets)
  const connections = createBlockConnections({
    ...{ exports, exportReader: createExportStore(sql), jobs },
    async secretOf({ id, wwn }) {
      const all = await kept.of('', [id])
      return all && z.record(z.string(), z.string()).parse(JSON.parse(all.toString()))[wwn]
    },
  })
  return {
    blockVolumes: createBlockVolumes({
      ...{ store, volumes, connections },
      make: createBlockSources({ volumes, backups, store, snapshots, jobs, fleet }),
      snapshotsOf: snapshots.ofVolume,
      forgetSnapshot: snapshots.forget,
      servers,
    }),
    blockSnapshots: createBlockSnapshots({ store: snapshots, volumeStore: store, volumes }),
  }
}
