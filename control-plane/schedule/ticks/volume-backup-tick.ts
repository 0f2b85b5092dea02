import { toFleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import { SYSTEM_CALLER } from '../../core/caller.ts'
import type { PointOrders } from '../../core/point-orders.ts'
import { decideRetention } from '../../core/retention.ts'
import type { SeriesPoint } from '../../db/stores/backup-series.ts'
import type { ClaimedBackup, VolumeBackupTickStore } from '../../db/stores/volume-backup-tick-store.ts'

/** Of one tick, so that it ends. */
const LIMIT = 50

/**
 * Deletes the points of backups that go, newest first, and then those; deletes what others have made superfluous; and puts right what
 * nobody has told the end of.
 */
export function createVolumeBackupTick(deps: {
  readonly store: VolumeBackupTickStore
  readonly points: Pick<PointOrders, 'delete'>
  readonly now: () => Promise<number>
  readonly logger: Logger
}): () => Promise<void> {
  const { store, points, now, logger } = deps

  /** @returns why one could not be ordered. */
  async function order({ groupId, id: backup }: ClaimedBackup, ids: readonly string[]): Promise<string | undefined> {
    let reason: string | undefined
    for (const id of ids) {
      try {
        await points.delete({ ...SYSTEM_CALLER, groupId }, id)
      } catch (error) {
        // Its host is away, somebody has pinned it, or it is gone: another tick comes back to it.
        const { code, message } = toFleetError(error)
        logger.info({ event: 'volume-backup.point-kept', backup, point: id, code })
        if (code !== 'not_found') reason = message
      }
    }
    return reason
  }

  async function remove(backup: ClaimedBackup): Promise<void> {
    const standing = await store.points(backup.id)
    if (standing.length === 0) return store.drop(backup.id)
    const reason = await order(backup, leavesOf(standing))
    if (reason !== undefined) await store.explain(backup.id, reason)
  }

  async function prune(backup: ClaimedBackup): Promise<void> {
    const standing = await store.points(backup.id)
    const kept = standing.filter(({ isDeleting }) => !isDeleting)
    const question = { points: kept, retention: backup.retention, timezone: 'UTC', nowMs: await now() }
    const doomed = new Set(decideRetention(question).delete.map(({ id }) => id))
    if (doomed.size === 0) return store.pruned(backup.id)
    await order(
      backup,
      leavesOf(standing).filter((id) => doomed.has(id)),
    )
  }

  return async () => {
    for (const backup of await store.claim(LIMIT)) {
      if (backup.status === 'deleting') await remove(backup)
      else if (backup.owesPrune && backup.status !== 'creating' && backup.status !== 'restoring') await prune(backup)
      else await store.refold(backup.id)
    }
  }
}

/** Ids of those that nothing rests on and that do not go yet. What is restored from others goes before them. */
export function leavesOf(points: readonly SeriesPoint[]): readonly string[] {
  const needed = new Set(points.flatMap(({ baseId, status }) => (status === 'failed' ? [] : (baseId ?? []))))
  return points
    .filter(({ id, isDeleting, status }) => !isDeleting && status !== 'running' && !needed.has(id))
    .map(({ id }) => id)
}
