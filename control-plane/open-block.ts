import { z } from 'zod'
import { createBlockAttachments } from './core/block-attachment-orders.ts'
import { createBlockConnections } from './core/block-connections.ts'
import { createBlockSources } from './core/block-create.ts'
import type { Servers } from './core/block-servers.ts'
import { createBlockSnapshots } from './core/block-snapshot-orders.ts'
import { createBlockVolumes } from './core/block-volume-orders.ts'
import type { Core } from './core/core.ts'
import type { Exports } from './core/exports.ts'
import type { FleetView } from './core/fleet-view.ts'
import type { Jobs } from './core/jobs.ts'
import type { Secrets } from './core/secrets.ts'
import type { VolumeBackups } from './core/volume-backups.ts'
import type { Volumes } from './core/volumes.ts'
import type { Sql } from './db/sql.ts'
import { createBlockAttachmentReader } from './db/stores/block-attachment-store.ts'
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
}): Pick<Core, 'blockVolumes' | 'blockSnapshots' | 'blockAttachments'> {
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
    blockAttachments: createBlockAttachments({ store, reader: createBlockAttachmentReader(sql), connections, servers }),
    blockSnapshots: createBlockSnapshots({ store: snapshots, volumeStore: store, volumes }),
  }
}
