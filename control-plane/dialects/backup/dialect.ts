import { COMMON_STATUSES, type Dialect, type Failure } from '../../http/route.ts'
import examples from './examples.json' with { type: 'json' }
import { createInstanceBackupRoutes } from './instance-backups.ts'
import { InstanceBackupView, InstanceSnapshotView } from './instance-schemas.ts'
import { createInstanceSnapshotRoutes } from './instance-snapshots.ts'
import { BackupErrorBody, VolumeBackupView } from './schemas.ts'
import { createVolumeBackupRoutes } from './volume-backups.ts'

const STATUSES = COMMON_STATUSES

function errorBody({ code, message, blockers }: Failure) {
  return { error: { code: STATUSES[code], message, ...(blockers ? { blockers } : {}) } }
}

/** The service's own paths, and those of the gateway, which lead to the same. */
export const backup: Dialect = {
  name: 'backup',
  title: 'Backup Service',
  version: '1',
  description: 'Backups of volumes, snapshots and backups of instances; the gateway that leads there.',
  owns: ['/v1/volume/backup', '/v1/block/backup', '/v1/instance', '/v1/compute'],
  statuses: STATUSES,
  errorBody,
  errorSchema: BackupErrorBody,
  schemas: {
    VolumeBackup: VolumeBackupView,
    InstanceSnapshot: InstanceSnapshotView,
    InstanceBackup: InstanceBackupView,
    Error: BackupErrorBody,
  },
  routes: [
    ...createVolumeBackupRoutes('/v1/volume/backup', 'VolumeBackup'),
    ...createVolumeBackupRoutes('/v1/block/backup', 'BlockBackup'),
    ...createInstanceSnapshotRoutes('/v1/instance/snapshot', 'InstanceSnapshot'),
    ...createInstanceSnapshotRoutes('/v1/compute/snapshot', 'ComputeSnapshot'),
    ...createInstanceBackupRoutes('/v1/instance/backup', 'InstanceBackup'),
    ...createInstanceBackupRoutes('/v1/compute/backup', 'ComputeBackup'),
  ],
  examples,
}
