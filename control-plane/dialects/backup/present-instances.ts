import type { Condition } from '../../core/condition.ts'
import type { InstanceBackupInfo, InstanceSnapshotInfo } from '../../core/instance-captures.ts'
import type { InstanceBackupView, InstanceSnapshotView } from './instance-schemas.ts'
import { etagOf, gibOf, type IfMatch } from './present.ts'

function captureOf(capture: InstanceSnapshotInfo | InstanceBackupInfo) {
  return {
    id: capture.id,
    name: capture.name,
    instance_id: capture.instanceId,
    instance: { ...capture.instance },
    consistency: capture.consistency,
    fail_reason: capture.failReason,
    created_at: capture.createdAt.toISOString(),
    updated_at: capture.updatedAt.toISOString(),
  }
}

export function presentInstanceSnapshot(snapshot: InstanceSnapshotInfo): InstanceSnapshotView {
  const { parts, status, leftOut } = snapshot
  return {
    ...captureOf(snapshot),
    status,
    root_snapshots: parts.flatMap(({ kind, id, sourceId, status: own }) =>
      kind === 'dataset' ? [{ id, dataset_id: sourceId, status: own }] : [],
    ),
    volume_snapshots: parts.flatMap(({ kind, id, sourceId, sizeBytes, status: own }) =>
      kind === 'volume' ? [{ id, volume_id: sourceId, size: gibOf(sizeBytes), status: own }] : [],
    ),
    left_out: [...leftOut],
  }
}

export function presentInstanceBackup(backup: InstanceBackupInfo): InstanceBackupView {
  const { parts, status, isIncremental, target, progressPercent } = backup
  return {
    ...captureOf(backup),
    status,
    is_incremental: isIncremental,
    target,
    size: gibOf(parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)),
    progress: progressPercent === null ? null : Math.min(99, Math.floor(progressPercent)),
    has_dependent_backups: false,
    root_backups: parts.flatMap(({ kind, id, sourceId, sizeBytes, status: own }) =>
      kind === 'root' ? [{ id, source_id: sourceId, size: gibOf(sizeBytes), status: own }] : [],
    ),
    volume_backups: parts.flatMap(({ kind, id, sourceId, sizeBytes, status: own }) =>
      kind === 'volume' ? [{ id, volume_id: sourceId, size: gibOf(sizeBytes), status: own }] : [],
    ),
  }
}

export function etagOfInstanceSnapshot(snapshot: InstanceSnapshotInfo): string {
  return etagOf(presentInstanceSnapshot(snapshot), snapshot.version)
}

export function etagOfInstanceBackup(backup: InstanceBackupInfo): string {
  return etagOf(presentInstanceBackup(backup), backup.version)
}

export function expectingInstanceSnapshot(ifMatch: IfMatch): Condition<InstanceSnapshotInfo> | undefined {
  return ifMatch && ((current) => ifMatch(etagOfInstanceSnapshot(current)))
}

export function expectingInstanceBackup(ifMatch: IfMatch): Condition<InstanceBackupInfo> | undefined {
  return ifMatch && ((current) => ifMatch(etagOfInstanceBackup(current)))
}
