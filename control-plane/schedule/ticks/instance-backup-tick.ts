import { toFleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import { isCode } from '../../core/backup-rules.ts'
import { type Caller, SYSTEM_CALLER } from '../../core/caller.ts'
import type { FleetView } from '../../core/fleet-view.ts'
import type { InstanceBackupStore } from '../../core/instance-backup-operations.ts'
import { createInstanceBackupParts } from '../../core/instance-backup-parts.ts'
import type { InstanceSnapshotInfo, InstanceSnapshots } from '../../core/instance-captures.ts'
import { instanceMeant } from '../../core/instance-snapshots.ts'
import type { InstanceReader } from '../../core/instances.ts'
import type { PointOrders } from '../../core/point-orders.ts'
import type { VolumeBackupOrders } from '../../core/volume-backups.ts'
import type { DueInstanceBackup, InstanceBackupTickStore } from '../../db/stores/instance-backup-tick-store.ts'
import { leavesOf } from './volume-backup-tick.ts'

/** Of one tick, so that it ends. */
const LIMIT = 50
/** What cannot be ordered as a host is away is tried again so often: for some minutes. */
const MAX_LOOKS = 12

/**
 * Takes backups of instances with volumes from the snapshot of all they are made of to their parts, and that snapshot away; and deletes
 * what those are made of that go: the backups of their volumes, then their own points, newest first; and then those.
 */
export function createInstanceBackupTick(deps: {
  readonly store: InstanceBackupTickStore
  readonly backups: InstanceBackupStore
  readonly points: Pick<PointOrders, 'order' | 'delete'>
  readonly volumeBackups: Pick<VolumeBackupOrders, 'create' | 'update' | 'delete'>
  readonly instanceSnapshots: Pick<InstanceSnapshots, 'get' | 'delete'>
  readonly instances: Pick<InstanceReader, 'find' | 'named'>
  readonly fleet: Pick<FleetView, 'knows'>
  readonly logger: Logger
}): () => Promise<void> {
  const { store, backups, points, volumeBackups, instanceSnapshots, logger } = deps
  const parts = createInstanceBackupParts({ ...deps, store: backups })

  async function snapshotOf(caller: Caller, id: string | null): Promise<InstanceSnapshotInfo | undefined> {
    if (id === null) return undefined
    return instanceSnapshots.get(caller, id).catch((error: unknown) => {
      if (isCode(error, 'not_found')) return undefined
      throw error
    })
  }

  /** It was taken, or was not: then each part is read as it is, at its own moment. */
  async function orderRoot(caller: Caller, { id, groupId, snapshotId }: DueInstanceBackup): Promise<void> {
    const snapshot = await snapshotOf(caller, snapshotId)
    if (snapshot?.status === 'creating') return
    const backup = await backups.find(groupId, id)
    if (backup === undefined) return
    const taken = snapshot?.status === 'available' ? snapshot : undefined
    const instance = await instanceMeant(deps, caller, backup.instanceId)
    await store.captured(id, taken?.consistency ?? null)
    const asked = { id, targetId: backup.target?.id ?? null, isIncremental: backup.isIncremental }
    // Somebody else may have come here meanwhile.
    const task = { kind: 'instance-backup', id, atMs: Date.now(), version: backup.version } as const
    await parts.root(caller, instance, asked, { task, snapshot: taken })
  }

  async function orderVolumes(caller: Caller, { id, groupId, snapshotId }: DueInstanceBackup): Promise<void> {
    const [backup, snapshot] = [await backups.find(groupId, id), await snapshotOf(caller, snapshotId)]
    if (backup === undefined) return
    const isWhole = await parts.volumes(caller, backup, snapshot?.status === 'available' ? snapshot : undefined)
    if (!isWhole) await store.captured(id, null)
  }

  async function readToTheEnd(_caller: Caller, { id, groupId }: DueInstanceBackup): Promise<void> {
    const backup = await backups.find(groupId, id)
    if (backup?.parts.some(({ status }) => status === 'creating') === false) await store.turn(id, 'reading', 'ending')
  }

  /** Nothing is read from it any more. */
  async function dropSnapshot(caller: Caller, { id, snapshotId }: DueInstanceBackup): Promise<void> {
    const snapshot = await snapshotOf(caller, snapshotId)
    if (snapshot === undefined) await store.turn(id, 'ending', null)
    else if (snapshot.status !== 'deleting') await instanceSnapshots.delete(caller, snapshot.id)
  }

  const STEPS = { snapshot: orderRoot, volumes: orderVolumes, reading: readToTheEnd, ending: dropSnapshot } as const

  async function advance(backup: DueInstanceBackup): Promise<void> {
    const { id, phase, groupId, looks } = backup
    if (phase === null) return
    try {
      await STEPS[phase]({ ...SYSTEM_CALLER, groupId }, backup)
    } catch (error) {
      const { code, message } = toFleetError(error)
      logger.info({ event: 'instance-backup.waits', backup: id, phase, code })
      const mayBecomeGood = isCode(error, 'unavailable', 'busy', 'timeout', 'stale') && looks < MAX_LOOKS
      // What it leaves behind goes whenever it can.
      if (phase !== 'ending' && !mayBecomeGood) await store.turn(id, phase, 'ending', message)
    }
  }

  /** @returns why it could not be ordered; undefined also for what is gone. */
  async function tried(backup: DueInstanceBackup, part: string, work: Promise<unknown>): Promise<string | undefined> {
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

  async function remove(backup: DueInstanceBackup): Promise<void> {
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
    for (const backup of await store.claim(LIMIT)) {
      await advance(backup)
      if (backup.isDeleting) await remove(backup)
    }
  }
}
