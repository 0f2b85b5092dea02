import { toFleetError } from '../../shared/errors.ts'
import type { Caller } from './caller.ts'
import type { InstanceBackupStore } from './instance-backup-operations.ts'
import { instanceBackupSeries, type MissingPart, type NewInstanceBackup } from './instance-backup-state.ts'
import type { InstanceBackupInfo, InstanceSnapshotInfo } from './instance-captures.ts'
import type { PresentInstance } from './instances.ts'
import type { InstanceBackupTask } from './orders.ts'
import type { PointOrders } from './point-orders.ts'
import type { VolumeBackupOrders } from './volume-backups.ts'

/** Orders what a backup of an instance is made of: as it is, or from a snapshot of all of it. */
export interface InstanceBackupParts {
  root(
    caller: Caller,
    instance: PresentInstance,
    backup: Pick<NewInstanceBackup, 'id' | 'targetId' | 'isIncremental'>,
    given: { readonly task: InstanceBackupTask; readonly snapshot?: InstanceSnapshotInfo | undefined },
  ): Promise<{ readonly jobId: string }>
  /**
   * A backup of each attached volume that has none in it, and the next point of those that do. What cannot be ordered is told with the backup.
   * @returns whether all are of the snapshot
   */
  volumes(caller: Caller, backup: InstanceBackupInfo, snapshot?: InstanceSnapshotInfo): Promise<boolean>
}

export function createInstanceBackupParts(deps: {
  readonly store: Pick<InstanceBackupStore, 'attached' | 'ordered'>
  readonly points: Pick<PointOrders, 'order'>
  readonly volumeBackups: Pick<VolumeBackupOrders, 'create' | 'update'>
}): InstanceBackupParts {
  const { store, points, volumeBackups } = deps

  async function volume(caller: Caller, backup: InstanceBackupInfo, of: { id: string; snapshot: string | undefined }) {
    const { name, id: instanceBackupId, isIncremental: incremental, target } = backup
    const part = backup.parts.find(({ kind, sourceId }) => kind === 'volume' && sourceId === of.id)
    // Whoever ordered it has died behind that.
    if (part?.status === 'creating') return
    if (part !== undefined) {
      const from = of.snapshot === undefined ? undefined : { instanceBackupId, snapshot: of.snapshot }
      await volumeBackups.update(caller, part.id, undefined, from)
      return
    }
    const where = {
      ...(target === null ? {} : { target: target.id }),
      ...(of.snapshot ? { snapshot: of.snapshot } : {}),
    }
    await volumeBackups.create(caller, { name, volume: of.id, incremental, force: true, instanceBackupId, ...where })
  }

  return {
    root(caller, { type, ref, host }, { id, targetId, isIncremental: incremental }, { task, snapshot }) {
      const where = { directory: instanceBackupSeries(id), ...(targetId === null ? {} : { target: targetId }) }
      const taken = snapshot?.parts.flatMap(({ kind, id: made, sourceId }) =>
        kind === 'dataset' ? [{ dataset: sourceId, snapshot: made }] : [],
      )
      // Held only until its snapshots are taken, where they are not.
      const source = {
        instance: ref,
        type,
        host,
        hold: 'pause',
        ...(taken?.length ? { snapshots: taken } : {}),
      } as const
      return points.order(caller, { source, incremental, ...where }, task)
    },

    async volumes(caller, backup, snapshot) {
      const missing: MissingPart[] = []
      const taken = new Map(snapshot?.parts.map(({ sourceId, id }) => [sourceId, id]))
      let isWhole = snapshot !== undefined
      for (const { id, path, groupId } of await store.attached(backup.instanceId)) {
        if (groupId !== caller.groupId) {
          missing.push({ volumeId: id, volume: 'a volume of another group', error: 'it is not yours to back up' })
          continue
        }
        isWhole &&= taken.has(id)
        try {
          await volume(caller, backup, { id, snapshot: taken.get(id) })
        } catch (thrown) {
          missing.push({ volumeId: id, volume: path, error: toFleetError(thrown).message })
        }
      }
      await store.ordered(backup.id, missing)
      return isWhole
    },
  }
}
