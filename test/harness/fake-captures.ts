import { randomUUID } from 'node:crypto'
import { type Caller, requireRole } from '../../control-plane/core/caller.ts'
import { requireCondition } from '../../control-plane/core/condition.ts'
import type {
  InstanceBackupInfo,
  InstanceBackups,
  InstanceSnapshotInfo,
  InstanceSnapshots,
} from '../../control-plane/core/instance-captures.ts'
import type { InstanceInfo } from '../../control-plane/core/instances.ts'
import { FleetError } from '../../shared/errors.ts'
import type { JobKind } from '../../shared/job-spec.ts'
import type { FakeInstanceControls } from './fake-instances.ts'
import { fakePage } from './fake-volumes.ts'

/** What a test arranges and looks at. */
export interface FakeCaptureControls {
  readonly instanceSnapshots: Map<string, InstanceSnapshotInfo>
  readonly instanceBackups: Map<string, InstanceBackupInfo>
}

type Accept = (caller: Caller, kind: JobKind, effect: () => unknown) => { jobId: string }

const AT = new Date('2026-01-02T03:04:05.678Z')

export function createFakeCaptureControls(): FakeCaptureControls {
  return { instanceSnapshots: new Map(), instanceBackups: new Map() }
}

export function fakeInstanceSnapshot(given: Partial<InstanceSnapshotInfo> = {}): InstanceSnapshotInfo {
  return {
    id: randomUUID(),
    groupId: '01900000-0000-7000-8000-000000000000',
    name: 'before',
    instanceId: randomUUID(),
    instance: { type: 'lxc', name: 'web', host: 'host-a' },
    status: 'available',
    failReason: null,
    consistency: 'frozen',
    parts: [{ kind: 'dataset', id: randomUUID(), sourceId: randomUUID(), sizeBytes: 0, status: 'available' }],
    leftOut: [],
    createdAt: AT,
    updatedAt: AT,
    version: 1,
    ...given,
  }
}

/** Snapshots that stay as they were ordered until the test says what has become of them. */
export function createFakeInstanceSnapshots(
  { instanceSnapshots, instances }: FakeCaptureControls & Pick<FakeInstanceControls, 'instances'>,
  accept: Accept,
): InstanceSnapshots {
  function find(caller: Caller, id: string): InstanceSnapshotInfo {
    const snapshot = instanceSnapshots.get(id)
    if (snapshot?.groupId !== caller.groupId) throw new FleetError('not_found', `there is no snapshot '${id}'`)
    return snapshot
  }

  return {
    async create(caller, { name, instance: idOrName }) {
      const { id: instanceId, ...instance } = fakeInstanceNamed(instances, caller, idOrName)
      const { type, name: called, host } = instance
      accept(caller, 'instance.snapshot', () => undefined)
      const part = {
        kind: 'dataset',
        id: randomUUID(),
        sourceId: randomUUID(),
        sizeBytes: 0,
        status: 'creating',
      } as const
      const snapshot = fakeInstanceSnapshot({
        ...{ groupId: caller.groupId, name, instanceId, instance: { type, name: called, host }, status: 'creating' },
        ...{ consistency: null, parts: [part] },
      })
      instanceSnapshots.set(snapshot.id, snapshot)
      return snapshot
    },
    async delete(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      const snapshot = find(caller, id)
      requireCondition(ifMatch, snapshot)
      if (snapshot.status === 'creating') throw new FleetError('conflict', 'the snapshot is still being made')
      instanceSnapshots.set(id, { ...snapshot, status: 'deleting', version: snapshot.version + 1 })
    },
    get: async (caller, id) => find(caller, id),
    async list(caller, { instanceId }, page) {
      const own = [...instanceSnapshots.values()].filter(({ groupId }) => groupId === caller.groupId)
      const asked = own.filter((one) => (instanceId ?? one.instanceId) === one.instanceId)
      return fakePage(asked.toReversed(), page)
    },
  }
}

export function fakeInstanceBackup(given: Partial<InstanceBackupInfo> = {}): InstanceBackupInfo {
  const instanceId = given.instanceId ?? randomUUID()
  return {
    id: randomUUID(),
    groupId: '01900000-0000-7000-8000-000000000000',
    name: 'nightly',
    instanceId,
    instance: { type: 'lxc', name: 'web', host: 'host-a' },
    status: 'available',
    failReason: null,
    consistency: 'frozen',
    isIncremental: false,
    target: null,
    progressPercent: null,
    parts: [{ kind: 'root', id: randomUUID(), sourceId: instanceId, sizeBytes: 1_000, status: 'available' }],
    createdAt: AT,
    updatedAt: AT,
    version: 1,
    ...given,
  }
}

/** Backups that stay as they were ordered until the test says what has become of them. */
export function createFakeInstanceBackups(
  { instanceBackups, instances }: FakeCaptureControls & Pick<FakeInstanceControls, 'instances'>,
  accept: Accept,
): InstanceBackups {
  function find(caller: Caller, id: string): InstanceBackupInfo {
    const backup = instanceBackups.get(id)
    if (backup?.groupId !== caller.groupId) throw new FleetError('not_found', `there is no backup '${id}'`)
    return backup
  }

  function requireIdle({ status }: InstanceBackupInfo): void {
    if (status !== 'available' && status !== 'error') throw new FleetError('conflict', `the backup is ${status}`)
  }

  return {
    async create(caller, { name, instance: idOrName, incremental = false }) {
      const { id: instanceId, type, name: called, host } = fakeInstanceNamed(instances, caller, idOrName)
      accept(caller, 'point.create', () => undefined)
      const part = { kind: 'root', id: randomUUID(), sourceId: instanceId, sizeBytes: 0, status: 'creating' } as const
      const backup = fakeInstanceBackup({
        ...{ groupId: caller.groupId, name, instanceId, instance: { type, name: called, host }, status: 'creating' },
        ...{ consistency: null, isIncremental: incremental, parts: [part] },
      })
      instanceBackups.set(backup.id, backup)
      return backup
    },
    async update(caller, id, ifMatch) {
      const backup = find(caller, id)
      requireCondition(ifMatch, backup)
      if (!backup.isIncremental) throw new FleetError('invalid', 'the backup is not incremental', { field: 'update' })
      requireIdle(backup)
      accept(caller, 'point.create', () => undefined)
      instanceBackups.set(id, { ...backup, status: 'creating', version: backup.version + 1 })
    },
    async delete(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      const backup = find(caller, id)
      requireCondition(ifMatch, backup)
      if (backup.status !== 'deleting') requireIdle(backup)
      instanceBackups.set(id, { ...backup, status: 'deleting', version: backup.version + 1 })
    },
    get: async (caller, id) => find(caller, id),
    async list(caller, { instanceId }, page) {
      const own = [...instanceBackups.values()].filter(({ groupId }) => groupId === caller.groupId)
      const asked = own.filter((one) => (instanceId ?? one.instanceId) === one.instanceId)
      return fakePage(asked.toReversed(), page)
    },
  }
}

export function fakeInstanceNamed(
  instances: ReadonlyMap<string, InstanceInfo>,
  caller: Caller,
  idOrName: string,
): InstanceInfo {
  const own = [...instances.values()].filter(({ groupId }) => groupId === caller.groupId)
  const instance = own.find(({ id }) => id === idOrName) ?? own.find(({ name }) => name === idOrName)
  if (instance === undefined) {
    throw new FleetError('not_found', `there is no container '${idOrName}'`, { field: 'instance' })
  }
  if (!['RUNNING', 'STOPPED', 'FROZEN', 'SAVED'].includes(instance.state)) {
    throw new FleetError('conflict', `'${instance.name}' is on its way from one state to another`)
  }
  return instance
}
