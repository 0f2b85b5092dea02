import { hash } from 'node:crypto'
import type { VolumeBackupCondition, VolumeBackupInfo } from '../../core/volume-backups.ts'
import type { VolumeBackupView } from './schemas.ts'

const GIB = 2 ** 30

export function gibOf(bytes: number): number {
  return Math.ceil(bytes / GIB)
}

export function presentVolumeBackup(backup: VolumeBackupInfo): VolumeBackupView {
  return {
    id: backup.id,
    name: backup.name,
    volume_id: backup.volumeId,
    volume: backup.volume,
    snapshot_id: backup.snapshotId,
    target: backup.target,
    status: backup.status,
    size: gibOf(backup.sizeBytes),
    size_bytes: backup.sizeBytes,
    stored_bytes: backup.storedBytes,
    is_incremental: backup.isIncremental,
    has_dependent_backups: backup.instanceBackupId !== null,
    instance_backup_id: backup.instanceBackupId,
    retention: backup.retention,
    point_count: backup.points.length,
    fail_reason: backup.failReason,
    progress: backup.progressPercent,
    created_at: backup.createdAt.toISOString(),
    updated_at: backup.updatedAt.toISOString(),
  }
}

export function presentWholeVolumeBackup(backup: VolumeBackupInfo) {
  return { ...presentVolumeBackup(backup), points: [...backup.points] }
}

/** Of all that is shown, and of the version: a target may get another name without one. */
export function etagOf(shown: unknown, version: number): string {
  return `"${hash('sha1', JSON.stringify([version, shown]), 'base64url')}"`
}

export function etagOfVolumeBackup(backup: VolumeBackupInfo): string {
  return etagOf(presentWholeVolumeBackup(backup), backup.version)
}

export type IfMatch = ((etag: string) => boolean) | undefined

export function expectingVolumeBackup(ifMatch: IfMatch): VolumeBackupCondition | undefined {
  return ifMatch && ((current) => ifMatch(etagOfVolumeBackup(current)))
}
