import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import {
  doing,
  isCode,
  noBackup,
  requireUnpinned,
  requireUpdatable,
  restorablePoint,
  targetNamed,
} from './backup-rules.ts'
import { type Caller, requireRole } from './caller.ts'
import { checkKept } from './check-request.ts'
import { requireCondition } from './condition.ts'
import type { BackupTask } from './orders.ts'
import type { PointOrders } from './point-orders.ts'
import type { Targets } from './targets.ts'
import { changeVersion } from './version-change.ts'
import { CreateVolumeBackupRequest } from './volume-backup-requests.ts'
import { backupSeries } from './volume-backup-state.ts'
import type { NewVolumeBackup, VolumeBackupInfo, VolumeBackupOrders, VolumeBackupStore } from './volume-backups.ts'
import type { VolumeInfo, VolumeOrders, VolumeSnapshotInfo } from './volumes.ts'

export function createVolumeBackups(deps: {
  readonly store: VolumeBackupStore
  readonly points: Pick<PointOrders, 'order'>
  readonly volumes: Pick<VolumeOrders, 'get' | 'restore'>
  readonly targets: Pick<Targets, 'get'>
  readonly now?: () => number
}): VolumeBackupOrders {
  const { store, points, volumes, targets, now = Date.now } = deps

  async function find(caller: Caller, id: string): Promise<VolumeBackupInfo> {
    const backup = await store.find(caller.groupId, id)
    if (backup === undefined) throw noBackup(id)
    return backup
  }

  /** @throws not_found, also for another group's. */
  async function volumeOf(caller: Caller, idOrPath: string): Promise<VolumeInfo> {
    const missing = new FleetError('not_found', `there is no volume '${idOrPath}'`, { field: 'volume' })
    const volume = await volumes.get(caller, idOrPath).catch((error: unknown) => {
      throw isCode(error, 'not_found') ? missing : error
    })
    if (volume.groupId !== caller.groupId) throw missing
    return volume
  }

  /** @throws not_found, invalid (of another volume), conflict (being made or deleted). */
  async function snapshotOf(caller: Caller, volume: VolumeInfo, id: string): Promise<VolumeSnapshotInfo> {
    const field = 'snapshot'
    const snapshot = await store.snapshot(caller.groupId, id)
    if (snapshot === undefined) throw new FleetError('not_found', `there is no snapshot '${id}'`, { field })
    if (snapshot.volumeId !== volume.id) {
      throw new FleetError('invalid', `snapshot: is not one of '${pathOf(volume)}'`, { field })
    }
    if (snapshot.state !== 'available') {
      throw new FleetError('conflict', `the snapshot '${snapshot.path}' is ${DOING[snapshot.state]}`, { field })
    }
    return snapshot
  }

  function orderPoint(
    caller: Caller,
    backup: Pick<VolumeBackupInfo, 'id' | 'isIncremental' | 'volumeId'> & { readonly targetId: string | null },
    given: { readonly task: BackupTask; readonly snapshot: VolumeSnapshotInfo | undefined },
  ) {
    const { id, isIncremental: incremental, volumeId, targetId } = backup
    const { task, snapshot } = given
    const source = { volume: volumeId, ...(snapshot === undefined ? {} : { snapshot: snapshot.name }) }
    const where = { directory: backupSeries(id), ...(targetId === null ? {} : { target: targetId }) }
    return points.order(caller, { source, incremental, ...where }, task)
  }

  return {
    async create(caller, request) {
      requireRole(caller, 'operator')
      const asked = checkKept(CreateVolumeBackupRequest, request)
      const volume = await volumeOf(caller, asked.volume)
      const snapshot = asked.snapshot === undefined ? undefined : await snapshotOf(caller, volume, asked.snapshot)
      const target = asked.target === undefined ? undefined : await targetNamed(targets, caller, asked.target)
      if (snapshot === undefined && !asked.force) await requireUnused(volume)
      const made: NewVolumeBackup = {
        ...{ id: newId(), groupId: caller.groupId, name: asked.name, volumeId: volume.id, volume: pathOf(volume) },
        ...{ snapshotId: snapshot?.id ?? null, targetId: target?.id ?? null, isIncremental: asked.incremental },
        ...{ retention: asked.retention, instanceBackupId: asked.instanceBackupId ?? null },
      }
      const { sizeBytes } = snapshot ?? volume
      const task = { kind: 'backup', id: made.id, atMs: now(), sizeBytes, made } as const
      const { jobId } = await inBackupWords(orderPoint(caller, made, { task, snapshot }))
      // Not the one above, where an earlier request under the same key had placed it.
      const backup = await store.madeBy(caller.groupId, jobId)
      if (backup === undefined) throw new FleetError('not_found', 'the backup that was ordered is gone already')
      return { jobId, backup }
    },

    async update(caller, id, ifMatch, part) {
      requireRole(caller, 'operator')
      return changeVersion(
        async () => {
          const backup = requireUpdatable(await find(caller, id), ifMatch)
          if (backup.project !== null) throw new FleetError('conflict', LENT)
          return backup
        },
        async (backup) => {
          const volume = await standingVolume(caller, backup)
          const snapshot = part === undefined ? undefined : await snapshotOf(caller, volume, part.snapshot)
          const { sizeBytes } = snapshot ?? volume
          const task = { kind: 'backup', id, atMs: now(), sizeBytes, version: backup.version } as const
          const asked = { ...backup, targetId: backup.target?.id ?? null }
          try {
            return await inBackupWords(orderPoint(caller, asked, { task, snapshot }))
          } catch (error) {
            if (isCode(error, 'stale')) return undefined
            throw error
          }
        },
      )
    },

    async restore(caller, id, { volume, sizeBytes, overwrite }) {
      requireRole(caller, 'operator')
      const backup = await find(caller, id)
      const point = restorablePoint(backup)
      if (sizeBytes !== undefined && sizeBytes < backup.sizeBytes) {
        throw new FleetError('invalid', `sizeBytes: must be at least ${backup.sizeBytes}`, { field: 'sizeBytes' })
      }
      const asked = { point, volume, sizeBytes: sizeBytes ?? (backup.sizeBytes || undefined), overwrite }
      const accepted = await volumes.restore(caller, asked)
      await store.restoring(id, accepted.jobId)
      return accepted
    },

    async delete(caller, id, ifMatch, instanceBackupId) {
      requireRole(caller, 'operator')
      await changeVersion(
        async () => {
          const backup = await find(caller, id)
          requireCondition(ifMatch, backup)
          return backup
        },
        async (backup) => {
          if (backup.status === 'deleting') return true
          await requireUnneeded(backup, instanceBackupId)
          return store.remove(caller, backup)
        },
      )
    },

    get: find,

    list: (caller, filter, page) => store.list(caller.groupId, filter, page),
  }

  /** @throws conflict, naming what has it in use. */
  async function requireUnused(volume: VolumeInfo): Promise<void> {
    const path = pathOf(volume)
    const blockers = await store.usersOf({ id: volume.id, path })
    if (blockers.length === 0) return
    const message = `'${path}' is in use (${blockers.slice(0, 3).join(', ')}): ask with force, or for one of its snapshots`
    throw new FleetError('conflict', message, { blockers })
  }

  /** @throws conflict when it is gone. */
  async function standingVolume(caller: Caller, { volumeId, volume }: VolumeBackupInfo): Promise<VolumeInfo> {
    try {
      return await volumeOf(caller, volumeId)
    } catch (error) {
      if (!isCode(error, 'not_found')) throw error
      throw new FleetError('conflict', `the volume '${volume}' is gone; the backup can still be restored`, {
        cause: error,
      })
    }
  }

  /** @throws conflict. */
  async function requireUnneeded(backup: VolumeBackupInfo, instanceBackupId: string | undefined): Promise<void> {
    const { status, jobId } = backup
    // What is only borrowed for yet is given back.
    if ((status === 'creating' || status === 'restoring') && jobId !== null) {
      throw new FleetError('conflict', doing(status), { blockers: [`job ${jobId}`] })
    }
    if (backup.instanceBackupId !== null && backup.instanceBackupId !== instanceBackupId) {
      const blockers = [`instance backup ${backup.instanceBackupId}`]
      throw new FleetError('conflict', 'a backup of an instance rests on it: delete that', { blockers })
    }
    requireUnpinned(await store.pinned(backup.id))
  }
}

const DOING = { creating: 'still being made', deleting: 'being deleted' } as const
const LENT = 'its volume is in the block service behind this one: that wants a token of its own in X-Auth-Token'

function pathOf({ pool, name }: VolumeInfo): string {
  return `${pool}/${name}`
}

const FIELDS: Readonly<Record<string, string>> = { 'source.volume': 'volume', 'source.snapshot': 'snapshot' }

/** Fields of the order for the point as requests for a backup have them. */
async function inBackupWords<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work
  } catch (error) {
    const field = error instanceof FleetError && error.field !== undefined ? FIELDS[error.field] : undefined
    if (!(error instanceof FleetError) || field === undefined) throw error
    throw new FleetError(error.code, error.message, { field, cause: error })
  }
}
