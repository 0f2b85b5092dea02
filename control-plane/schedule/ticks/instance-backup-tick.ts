import { toFleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import { SYSTEM_CALLER } from '../../core/caller.ts'
import type { PointOrders } from '../../core/point-orders.ts'
import type { VolumeBackupOrders } from '../../core/volume-backups.ts'
import type { GoingInstanceBackup, InstanceBackupTickStore } from '../../db/stores/instance-backup-tick-store.ts'
import { leavesOf } from './volume-backup-tick.ts'

/** Of one tick, so that it ends. */
const LIMIT = 50

/** Deletes what backups of instances that go are made of: the backups of their volumes, then their own points, newest first; and then those. */
export function createInstanceBackupTick(deps: {
  readonly store: InstanceBackupTickStore
  readonly points: Pick<PointOrders, 'delete'>
  readonly volumeBackups: Pick<VolumeBackupOrders, 'delete'>
  readonly logger: Logger
}): () => Promise<void> {
  const { store, points, volumeBackups, logger } = deps

  /** @returns why it could not be ordered; undefined also for what is gone. */
  async function tried(backup: GoingInstanceBackup, part: string, work: Promise<unknown>): Promise<string | undefined> {
    try {
      await work
      return undefined
    } catch (error) {
      // Its host is away, or somebody has pinned it: another tick comes back to it.
      const { code, message } = toFleetError(error)
      logger.info({ event: 'instance-backup.part-kept', backup: backup.id, part, code })
      return code === 'not_found' ? undefined : message
    }
  }

  async function remove(backup: GoingInstanceBackup): Promise<void> {
    const caller = { ...SYSTEM_CALLER, groupId: backup.groupId }
    let reason: string | undefined
    const volumes = await store.volumes(backup.id)
    for (const { id, status } of volumes) {
      if (status === 'deleting') continue
      reason = (await tried(backup, id, volumeBackups.delete(caller, id, undefined, backup.id))) ?? reason
    }
    const standing = volumes.length > 0 ? [] : await store.points(backup.id)
    for (const id of leavesOf(standing)) reason = (await tried(backup, id, points.delete(caller, id))) ?? reason
    if (reason !== undefined) await store.explain(backup.id, reason)
    else if (volumes.length + standing.length === 0) await store.drop(backup.id)
  }

  return async () => {
    for (const backup of await store.claim(LIMIT)) await remove(backup)
  }
}
