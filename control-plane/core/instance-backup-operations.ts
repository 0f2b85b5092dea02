import { z } from 'zod'
import { FleetError, toFleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { type Caller, requireRole } from './caller.ts'
import { checkKept } from './check-request.ts'
import { requireCondition } from './condition.ts'
import { type FleetView, requireOnline } from './fleet-view.ts'
import type { HostReads } from './host-reads.ts'
import { instanceBackupSeries, type MissingPart, type NewInstanceBackup } from './instance-backup-state.ts'
import type { InstanceBackupInfo, InstanceBackups } from './instance-captures.ts'
import { CaptureInstanceRequest, instanceMeant, requireStanding } from './instance-snapshots.ts'
import type { InstanceReader, PresentInstance } from './instances.ts'
import type { InstanceBackupTask } from './orders.ts'
import type { PointOrders } from './point-orders.ts'
import { noTarget, type TargetInfo, type Targets } from './targets.ts'
import { changeVersion } from './version-change.ts'
import type { VolumeBackupOrders } from './volume-backups.ts'

const BackUpInstanceRequest = CaptureInstanceRequest.extend({
  target: z.string().optional(),
  incremental: z.boolean().optional(),
})

/** A volume that is attached to an instance. */
export interface AttachedVolume {
  readonly id: string
  readonly groupId: string
  /** Of another group: nobody is told its name. */
  readonly path: string
}

/** What Postgres must answer for backups of instances. */
export interface InstanceBackupStore {
  find(groupId: string, id: string): Promise<InstanceBackupInfo | undefined>
  /** The one of which that job makes, or has made, a point. */
  madeBy(groupId: string, jobId: string): Promise<InstanceBackupInfo | undefined>
  list(
    groupId: string,
    filter: { readonly instanceId?: string | undefined },
    page: { readonly limit: number; readonly cursor?: string | undefined },
  ): Promise<{ readonly items: readonly InstanceBackupInfo[]; readonly nextCursor: string | null }>
  attached(instanceId: string): Promise<readonly AttachedVolume[]>
  /** All its parts are ordered that could be. */
  ordered(id: string, missing: readonly MissingPart[]): Promise<void>
  /** Of its points those that are pinned. */
  pinned(id: string): Promise<readonly string[]>
  /** Marks it for deletion, with its audit. @returns undefined when it has another version by now. */
  remove(caller: Caller, backup: InstanceBackupInfo): Promise<true | undefined>
}

export function createInstanceBackups(deps: {
  readonly store: InstanceBackupStore
  readonly points: Pick<PointOrders, 'order'>
  readonly volumeBackups: Pick<VolumeBackupOrders, 'create' | 'update' | 'get'>
  readonly targets: Pick<Targets, 'get'>
  readonly instances: Pick<InstanceReader, 'find' | 'named'>
  readonly fleet: FleetView
  readonly reads: HostReads
  readonly now?: () => number
}): InstanceBackups {
  const { store, points, volumeBackups, targets, fleet, reads, now = Date.now } = deps

  async function find(caller: Caller, id: string): Promise<InstanceBackupInfo> {
    const backup = await store.find(caller.groupId, id)
    if (backup === undefined) throw noBackup(id)
    return backup
  }

  async function targetOf(caller: Caller, id: string): Promise<TargetInfo> {
    try {
      return await targets.get(caller, id)
    } catch (error) {
      throw error instanceof FleetError && error.code === 'not_found' ? noTarget(id, 'target') : error
    }
  }

  /** @throws conflict for a state in which none is backed up; unavailable */
  async function stateNow({ host, name, type, ref }: PresentInstance): Promise<string> {
    requireOnline(fleet, host)
    const { state } = await reads.ask(host, 'instance-parts', { place: { type, instance: ref } })
    requireStanding(state, name)
    return state
  }

  /** Held only until its snapshots are taken. */
  function orderRoot(
    caller: Caller,
    { type, ref, host }: PresentInstance,
    backup: Pick<NewInstanceBackup, 'id' | 'targetId' | 'isIncremental'>,
    task: InstanceBackupTask,
  ) {
    const { targetId, isIncremental: incremental } = backup
    const where = { directory: instanceBackupSeries(backup.id), ...(targetId === null ? {} : { target: targetId }) }
    return points.order(caller, { source: { instance: ref, type, host, hold: 'pause' }, incremental, ...where }, task)
  }

  /** A backup of each volume that has none in it, and the next point of those that do. What cannot be ordered is told with the backup. */
  async function orderVolumes(caller: Caller, backup: InstanceBackupInfo): Promise<void> {
    const missing: MissingPart[] = []
    for (const { id: volumeId, path, groupId } of await store.attached(backup.instanceId)) {
      if (groupId !== caller.groupId) {
        missing.push({ volumeId, volume: 'a volume of another group', error: 'it is not yours to back up' })
        continue
      }
      try {
        await orderVolume(caller, backup, volumeId)
      } catch (thrown) {
        missing.push({ volumeId, volume: path, error: toFleetError(thrown).message })
      }
    }
    await store.ordered(backup.id, missing)
  }

  async function orderVolume(caller: Caller, backup: InstanceBackupInfo, volumeId: string): Promise<void> {
    const part = backup.parts.find(({ kind, sourceId }) => kind === 'volume' && sourceId === volumeId)
    if (part !== undefined) {
      await volumeBackups.update(caller, part.id)
      return
    }
    const { name, id: instanceBackupId, isIncremental: incremental, target } = backup
    const where = target === null ? {} : { target: target.id }
    await volumeBackups.create(caller, { name, volume: volumeId, incremental, force: true, instanceBackupId, ...where })
  }

  return {
    async create(caller, request) {
      requireRole(caller, 'operator')
      const asked = checkKept(BackUpInstanceRequest, request)
      const instance = await instanceMeant(deps, caller, asked.instance)
      const target = asked.target === undefined ? undefined : await targetOf(caller, asked.target)
      const state = await stateNow(instance)
      const { id: instanceId, type, name, host } = instance
      const made: NewInstanceBackup = {
        ...{ id: newId(), groupId: caller.groupId, name: asked.name, instanceId, instance: { type, name, host } },
        ...{ isIncremental: asked.incremental ?? false, targetId: target?.id ?? null },
      }
      const task = { kind: 'instance-backup', id: made.id, atMs: now(), state, made } as const
      const { jobId } = await orderRoot(caller, instance, made, task)
      // Not the one above, where an earlier request under the same key had placed it.
      const backup = await store.madeBy(caller.groupId, jobId)
      if (backup === undefined) throw new FleetError('not_found', 'the backup that was ordered is gone already')
      if (backup.id === made.id) await orderVolumes(caller, backup)
      return find(caller, backup.id)
    },

    async update(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      await changeVersion(
        async () => {
          const backup = await find(caller, id)
          requireCondition(ifMatch, backup)
          if (!backup.isIncremental)
            throw new FleetError('invalid', 'the backup is not incremental', { field: 'update' })
          requireIdle(backup)
          return backup
        },
        async (backup) => {
          const instance = await standingInstance(caller, backup)
          const state = await stateNow(instance)
          const task = { kind: 'instance-backup', id, atMs: now(), state, version: backup.version } as const
          const asked = { id, targetId: backup.target?.id ?? null, isIncremental: true }
          try {
            await orderRoot(caller, instance, asked, task)
          } catch (error) {
            if (error instanceof FleetError && error.code === 'stale') return undefined
            throw error
          }
          await orderVolumes(caller, backup)
          return true
        },
      )
    },

    async delete(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      await changeVersion(
        async () => {
          const backup = await find(caller, id)
          requireCondition(ifMatch, backup)
          return backup
        },
        async (backup) => {
          if (backup.status === 'deleting') return true
          if (backup.status === 'creating' || backup.status === 'restoring')
            throw new FleetError('conflict', `the backup is ${BUSY[backup.status]}`)
          const blockers = (await store.pinned(id)).map((point) => `point ${point}`)
          if (blockers.length > 0) throw new FleetError('conflict', 'points of the backup are pinned', { blockers })
          return store.remove(caller, backup)
        },
      )
    },

    get: find,

    list: (caller, filter, page) => store.list(caller.groupId, filter, page),
  }

  /** @throws conflict when it is gone, or where its points cannot be added to any more. */
  async function standingInstance(caller: Caller, backup: InstanceBackupInfo): Promise<PresentInstance> {
    const { instanceId, instance: was, target } = backup
    try {
      const instance = await instanceMeant(deps, caller, instanceId)
      if (target !== null || instance.host === was.host) return instance
    } catch (error) {
      if (!(error instanceof FleetError && error.code === 'not_found')) throw error
      throw new FleetError('conflict', `'${was.name}' is gone; what was backed up of it stays`, { cause: error })
    }
    throw new FleetError(
      'conflict',
      `'${was.name}' is on another host now, and its backup lies on '${was.host}' itself`,
    )
  }
}

const BUSY = { creating: 'still being made', restoring: 'being restored', deleting: 'being deleted' } as const

/** @throws conflict. */
function requireIdle({ status }: InstanceBackupInfo): void {
  if (status !== 'available' && status !== 'error') throw new FleetError('conflict', `the backup is ${BUSY[status]}`)
}

function noBackup(id: string): FleetError {
  return new FleetError('not_found', `there is no backup '${id}'`)
}
