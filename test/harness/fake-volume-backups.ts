import { randomUUID } from 'node:crypto'
import { type Caller, requireRole } from '../../control-plane/core/caller.ts'
import { requireCondition } from '../../control-plane/core/condition.ts'
import type { VolumeBackupInfo, VolumeBackups } from '../../control-plane/core/volume-backups.ts'
import type { VolumeInfo } from '../../control-plane/core/volumes.ts'
import { FleetError } from '../../shared/errors.ts'
import type { JobKind } from '../../shared/job-spec.ts'
import { type FakeVolumeControls, fakePage, fakeVolume } from './fake-volumes.ts'

/** What a test arranges and looks at. */
export interface FakeVolumeBackupControls {
  readonly volumeBackups: Map<string, VolumeBackupInfo>
}

type Accept = (caller: Caller, kind: JobKind, effect: () => unknown) => { jobId: string }

const AT = new Date('2026-01-02T03:04:05.678Z')

export function createFakeVolumeBackupControls(): FakeVolumeBackupControls {
  return { volumeBackups: new Map() }
}

export function fakeVolumeBackup(given: Partial<VolumeBackupInfo> = {}): VolumeBackupInfo {
  return {
    id: randomUUID(),
    groupId: '01900000-0000-7000-8000-000000000000',
    name: 'nightly',
    volumeId: randomUUID(),
    volume: 'tank/a',
    project: null,
    snapshotId: null,
    target: null,
    isIncremental: false,
    retention: 0,
    status: 'available',
    sizeBytes: 2 ** 30,
    storedBytes: 1_000,
    progressPercent: null,
    failReason: null,
    instanceBackupId: null,
    points: [randomUUID()],
    jobId: null,
    createdAt: AT,
    updatedAt: AT,
    version: 1,
    ...given,
  }
}

/** Backups that stay as they were ordered until the test says what has become of them. */
export function createFakeVolumeBackups(
  fake: FakeVolumeBackupControls & FakeVolumeControls,
  accept: Accept,
): VolumeBackups {
  const { volumeBackups, volumes } = fake

  function find(caller: Caller, id: string): VolumeBackupInfo {
    const backup = volumeBackups.get(id)
    if (backup?.groupId !== caller.groupId) throw new FleetError('not_found', `there is no backup '${id}'`)
    return backup
  }

  function keep(backup: VolumeBackupInfo): VolumeBackupInfo {
    volumeBackups.set(backup.id, backup)
    return backup
  }

  function requireIdle({ status }: VolumeBackupInfo): void {
    if (status !== 'available' && status !== 'error') throw new FleetError('conflict', `the backup is ${status}`)
  }

  function volumeOf(caller: Caller, idOrPath: string): VolumeInfo {
    const volume = volumes.get(idOrPath) ?? [...volumes.values()].find(({ id }) => id === idOrPath)
    if (volume?.groupId === caller.groupId) return volume
    throw new FleetError('not_found', `there is no volume '${idOrPath}'`, { field: 'volume' })
  }

  return {
    async create(caller, { name, volume: idOrPath, snapshot, incremental = false, retention = 0 }) {
      requireRole(caller, 'operator')
      const volume = volumeOf(caller, idOrPath)
      const id = randomUUID()
      const { jobId } = accept(caller, 'point.create', () => undefined)
      const backup = fakeVolumeBackup({
        ...{ id, groupId: caller.groupId, name, volumeId: volume.id, volume: `${volume.pool}/${volume.name}` },
        ...{ snapshotId: snapshot ?? null, isIncremental: incremental, retention, status: 'creating', sizeBytes: 0 },
        ...{ storedBytes: 0, points: [], jobId },
      })
      return { jobId, backup: keep(backup) }
    },
    async update(caller, id, ifMatch) {
      const backup = find(caller, id)
      requireCondition(ifMatch, backup)
      if (!backup.isIncremental) throw new FleetError('invalid', 'the backup is not incremental', { field: 'update' })
      requireIdle(backup)
      const { jobId } = accept(caller, 'point.create', () => undefined)
      keep({ ...backup, status: 'creating', jobId, version: backup.version + 1 })
      return { jobId }
    },
    async restore(caller, id, { volume: path, sizeBytes }) {
      const backup = find(caller, id)
      requireIdle(backup)
      if (backup.points.length === 0) throw new FleetError('conflict', 'the backup has no good point to restore')
      if (volumes.has(path)) throw new FleetError('exists', `'${path}' exists already`, { field: 'volume' })
      const [pool = '', ...name] = path.split('/')
      const given = { groupId: caller.groupId, pool, name: name.join('/'), sizeBytes: sizeBytes ?? backup.sizeBytes }
      const volume = fakeVolume(given)
      const { jobId } = accept(caller, 'volume.restore', () => volumes.set(path, volume))
      return { jobId, volume: { ...volume, state: 'creating', device: null, guid: null } }
    },
    async delete(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      const backup = find(caller, id)
      requireCondition(ifMatch, backup)
      if (backup.instanceBackupId !== null) {
        const blockers = [`instance backup ${backup.instanceBackupId}`]
        throw new FleetError('conflict', 'a backup of an instance rests on it: delete that', { blockers })
      }
      keep({ ...backup, status: 'deleting', version: backup.version + 1 })
    },
    get: async (caller, id) => find(caller, id),
    async list(caller, { volumeId, name }, page) {
      const own = [...volumeBackups.values()].filter(({ groupId }) => groupId === caller.groupId)
      const asked = own.filter((one) => (volumeId ?? one.volumeId) === one.volumeId && (name ?? one.name) === one.name)
      return fakePage(asked.toReversed(), page)
    },
  }
}
