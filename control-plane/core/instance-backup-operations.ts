import { z } from 'zod'
import { FleetError, toFleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { doing, isCode, noBackup, requireUnpinned, requireUpdatable, targetNamed } from './backup-rules.ts'
import { type Caller, requireRole } from './caller.ts'
import { checkKept } from './check-request.ts'
import { requireCondition } from './condition.ts'
import { type FleetView, requireOnline } from './fleet-view.ts'
import type { HostReads } from './host-reads.ts'
import { createInstanceBackupParts } from './instance-backup-parts.ts'
import { instanceBackupSeries, type MissingPart, type NewInstanceBackup } from './instance-backup-state.ts'
import type { InstanceBackupInfo, InstanceBackups, InstanceSnapshots } from './instance-captures.ts'
import { CaptureInstanceRequest, instanceMeant, requireStanding } from './instance-snapshots.ts'
import type { InstanceReader, PresentInstance } from './instances.ts'
import type { PointOrders } from './point-orders.ts'
import { seriesOf } from './point-series.ts'
import type { Targets } from './targets.ts'
import { changeVersion } from './version-change.ts'
import type { VolumeBackupOrders } from './volume-backups.ts'

const BackUpInstanceRequest = CaptureInstanceRequest.extend({
  target: z.string().optional(),
  incremental: z.boolean().optional(),
})

/** Of a snapshot's name. */
const NAME_MAX = 255

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
  ofSnapshot(groupId: string, snapshotId: string): Promise<InstanceBackupInfo | undefined>
  /** One whose parts are ordered when the snapshot has been taken. With its audit. */
  make(
    caller: Caller,
    backup: NewInstanceBackup,
    given: { readonly seriesId: string; readonly snapshotId: string; readonly state: string },
  ): Promise<void>
  /** The same for its next points. @returns false when it has another version by now, or the last snapshot of it still goes. */
  begin(backup: Pick<InstanceBackupInfo, 'id' | 'version'>, state: string): Promise<boolean>
  /** What it is read from is ordered, or is not to be: `snapshotId` null; or it came to nothing. */
  begun(id: string, how: { readonly snapshotId: string | null } | { readonly failReason: string }): Promise<void>
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
  readonly volumeBackups: Pick<VolumeBackupOrders, 'create' | 'update'>
  readonly instanceSnapshots: Pick<InstanceSnapshots, 'create'>
  readonly targets: Pick<Targets, 'get'>
  readonly instances: Pick<InstanceReader, 'find' | 'named'>
  readonly fleet: FleetView
  readonly reads: HostReads
  readonly now?: () => number
}): InstanceBackups {
  const { store, instanceSnapshots, targets, fleet, reads, now = Date.now } = deps
  const parts = createInstanceBackupParts(deps)

  async function find(caller: Caller, id: string): Promise<InstanceBackupInfo> {
    const backup = await store.find(caller.groupId, id)
    if (backup === undefined) throw noBackup(id)
    return backup
  }

  /** @throws conflict for a state in which none is backed up; unavailable */
  async function stateNow({ host, name, type, ref }: PresentInstance): Promise<string> {
    requireOnline(fleet, host)
    const { state } = await reads.ask(host, 'instance-parts', { place: { type, instance: ref } })
    requireStanding(state, name)
    return state
  }

  async function hasVolumes(caller: Caller, { id }: PresentInstance): Promise<boolean> {
    return (await store.attached(id)).some(({ groupId }) => groupId === caller.groupId)
  }

  /** Of all that it is made of; undefined where no instant is common to that. */
  async function snapshotOf(caller: Caller, instance: PresentInstance, name: string) {
    try {
      return await instanceSnapshots.create(caller, {
        name: `backup ${name}`.slice(0, NAME_MAX),
        instance: instance.id,
      })
    } catch (error) {
      if (isCode(error, 'conflict')) return undefined
      throw error
    }
  }

  /** A tick does the rest, also when the snapshot was refused: then each part is read as it is. */
  async function updateWhole(
    caller: Caller,
    backup: InstanceBackupInfo,
    { instance, state }: { readonly instance: PresentInstance; readonly state: string },
  ): Promise<boolean> {
    if (!(await store.begin(backup, state))) return false
    try {
      const snapshot = await snapshotOf(caller, instance, backup.name)
      await store.begun(backup.id, { snapshotId: snapshot?.id ?? null })
    } catch (thrown) {
      await store.begun(backup.id, { failReason: toFleetError(thrown).message })
      throw thrown
    }
    return true
  }

  async function createOf(caller: Caller, instance: PresentInstance, made: NewInstanceBackup): Promise<string> {
    const state = await stateNow(instance)
    const isWhole = await hasVolumes(caller, instance)
    if (!isWhole) requireTree(instance)
    const snapshot = isWhole ? await snapshotOf(caller, instance, made.name) : undefined
    if (snapshot !== undefined) {
      // An earlier request under the same key.
      const before = await store.ofSnapshot(caller.groupId, snapshot.id)
      if (before !== undefined) return before.id
      const { groupId, targetId, id } = made
      const { type, name, hostId, host } = instance
      const { id: seriesId } = seriesOf({
        ...{ groupId, targetId, host: { id: hostId, name: host }, source: { kind: 'instance', id, type, name } },
        ...{ path: '', directory: instanceBackupSeries(id) },
      })
      await store.make(caller, made, { seriesId, snapshotId: snapshot.id, state })
      return id
    }
    const task = { kind: 'instance-backup', id: made.id, atMs: now(), state, made } as const
    const { jobId } = await parts.root(caller, instance, made, { task })
    // Not the one above, where an earlier request under the same key had placed it.
    const backup = await store.madeBy(caller.groupId, jobId)
    if (backup === undefined) throw new FleetError('not_found', 'the backup that was ordered is gone already')
    if (backup.id === made.id) await parts.volumes(caller, backup)
    return backup.id
  }

  /** @returns undefined when it has another version by now. */
  async function updateOf(caller: Caller, backup: InstanceBackupInfo): Promise<true | undefined> {
    const { id, version, target } = backup
    const instance = await standingInstance(caller, backup)
    const state = await stateNow(instance)
    if (await hasVolumes(caller, instance)) return (await updateWhole(caller, backup, { instance, state })) || undefined
    requireTree(instance)
    const task = { kind: 'instance-backup', id, atMs: now(), state, version } as const
    const asked = { id, targetId: target?.id ?? null, isIncremental: true }
    try {
      await parts.root(caller, instance, asked, { task })
    } catch (error) {
      if (isCode(error, 'stale')) return undefined
      throw error
    }
    await parts.volumes(caller, backup)
    return true
  }

  return {
    async create(caller, request) {
      requireRole(caller, 'operator')
      const asked = checkKept(BackUpInstanceRequest, request)
      const instance = await instanceMeant(deps, caller, asked.instance)
      const target = asked.target === undefined ? undefined : await targetNamed(targets, caller, asked.target)
      const { id: instanceId, type, name, host } = instance
      if (target === undefined && fleet.host(host)?.backupRoot === null)
        throw new FleetError('refused', `host '${host}' keeps no backups itself; name a target`, { field: 'target' })
      const made: NewInstanceBackup = {
        ...{ id: newId(), groupId: caller.groupId, name: asked.name, instanceId, instance: { type, name, host } },
        ...{ isIncremental: asked.incremental ?? false, targetId: target?.id ?? null },
      }
      return find(caller, await createOf(caller, instance, made))
    },

    async update(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      await changeVersion(
        async () => requireUpdatable(await find(caller, id), ifMatch),
        (backup) => updateOf(caller, backup),
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
            throw new FleetError('conflict', doing(backup.status))
          requireUnpinned(await store.pinned(id))
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
      if (!isCode(error, 'not_found')) throw error
      throw new FleetError('conflict', `'${was.name}' is gone; what was backed up of it stays`, { cause: error })
    }
    throw new FleetError(
      'conflict',
      `'${was.name}' is on another host now, and its backup lies on '${was.host}' itself`,
    )
  }
}

/** @throws conflict for a domain, which has none: without a volume its configuration alone would be backed up. */
function requireTree({ type, name }: PresentInstance): void {
  if (type === 'libvirt') throw new FleetError('conflict', `no disk of '${name}' is a volume of the fleet`)
}
