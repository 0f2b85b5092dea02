import { randomUUID } from 'node:crypto'
import { type Caller, requireFleetRole, requireRole, visibleGroup } from '../../control-plane/core/caller.ts'
import { requireCondition } from '../../control-plane/core/condition.ts'
import type { ExportInfo } from '../../control-plane/core/exports.ts'
import type { Page, PageRequest } from '../../control-plane/core/page.ts'
import type { VolumeInfo, VolumeSnapshotInfo, Volumes } from '../../control-plane/core/volumes.ts'
import { FleetError } from '../../shared/errors.ts'
import type { JobKind } from '../../shared/job-spec.ts'

/** What a test arranges and looks at. */
export interface FakeVolumeControls {
  /** By path: `tank/a`. */
  readonly volumes: Map<string, VolumeInfo>
  /** By path: `tank/a@s`. */
  readonly volumeSnapshots: Map<string, VolumeSnapshotInfo>
  /** Ids of points that volumes were restored of. */
  readonly volumeRestores: string[]
}

type Accept = (caller: Caller, kind: JobKind, effect: () => unknown) => { jobId: string }
type FakeExports = ReadonlyMap<string, ExportInfo>

const AT = new Date('2026-01-02T03:04:05.678Z')
const SAFETY = 'before-20260102T030405Z'
const GROUP_ID = '01900000-0000-7000-8000-000000000000'

export function createFakeVolumeControls(): FakeVolumeControls {
  return { volumes: new Map(), volumeSnapshots: new Map(), volumeRestores: [] }
}

export function fakeVolume(given: Partial<VolumeInfo> = {}): VolumeInfo {
  return {
    id: randomUUID(),
    groupId: GROUP_ID,
    name: 'a',
    sizeBytes: 1_048_576,
    state: 'available',
    host: 'host-a',
    pool: 'tank',
    driver: 'sim',
    device: '/tank/a.img',
    guid: 'guid-a',
    origin: null,
    createdAt: AT,
    version: 1,
    ...given,
  }
}

export function fakePage<Item>(items: readonly Item[], { limit, cursor }: PageRequest): Page<Item> {
  const from = cursor === undefined ? 0 : Number(cursor)
  const next = from + limit
  return { items: items.slice(from, next), nextCursor: next < items.length ? String(next) : null }
}

/** Volumes that are what they are asked to be as soon as they are asked. */
export function createFakeVolumes(
  { volumes, volumeSnapshots, volumeRestores, exports }: FakeVolumeControls & { readonly exports: FakeExports },
  accept: Accept,
): Volumes {
  const isSeen = (caller: Caller, one: { readonly groupId: string }) =>
    visibleGroup(caller) === null || one.groupId === caller.groupId

  function find(caller: Caller, idOrPath: string): VolumeInfo {
    const volume = volumes.get(idOrPath) ?? [...volumes.values()].find(({ id }) => id === idOrPath)
    if (!volume || !isSeen(caller, volume)) throw new FleetError('not_found', `there is no volume '${idOrPath}'`)
    return volume
  }

  function make(caller: Caller, kind: JobKind, given: Partial<VolumeInfo> & { readonly name: string }) {
    const volume = fakeVolume({ groupId: caller.groupId, guid: randomUUID(), ...given })
    const path = `${volume.pool}/${volume.name}`
    if (volumes.has(path)) throw new FleetError('exists', `'${path}' exists already`, { field: 'name' })
    const { jobId } = accept(caller, kind, () => volumes.set(path, volume))
    return { jobId, volume: { ...volume, state: 'creating' as const, device: null, guid: null, version: 0 } }
  }

  return {
    async create(caller, { name, sizeBytes, pool = 'tank' }) {
      if (pool !== 'tank') throw new FleetError('not_found', `there is no pool '${pool}'`, { field: 'pool' })
      return make(caller, 'volume.create', { name, sizeBytes })
    },
    async clone(caller, { source, name }) {
      const snapshot = volumeSnapshots.get(source)
      if (!snapshot) throw new FleetError('not_found', `there is no snapshot '${source}'`, { field: 'source' })
      return make(caller, 'volume.clone', { name, sizeBytes: snapshot.sizeBytes, origin: source })
    },
    async resize(caller, path, sizeBytes, ifMatch) {
      requireRole(caller, 'operator')
      const volume = find(caller, path)
      requireCondition(ifMatch, volume)
      if (sizeBytes < volume.sizeBytes) throw new FleetError('conflict', 'a volume never becomes smaller')
      return accept(caller, 'volume.resize', () =>
        volumes.set(`${volume.pool}/${volume.name}`, { ...volume, sizeBytes, version: volume.version + 1 }),
      )
    },
    async delete(caller, path, ifMatch) {
      requireRole(caller, 'operator')
      const volume = find(caller, path)
      const own = `${volume.pool}/${volume.name}`
      requireCondition(ifMatch, volume)
      const blockers = [
        ...[...exports.values()].filter((one) => one.volume === own).map(({ wwn }) => `export ${wwn}`),
        ...[...volumeSnapshots.values()]
          .filter((one) => one.volumeId === volume.id)
          .map((one) => `snapshot ${one.path}`),
        ...clonesOf(`${own}@`),
      ]
      if (blockers.length > 0) throw new FleetError('conflict', `'${own}' is needed`, { blockers })
      return accept(caller, 'volume.delete', () => volumes.delete(own))
    },
    async snapshot(caller, path, name) {
      const volume = find(caller, path)
      const { groupId, id: volumeId, sizeBytes } = volume
      const full = `${volume.pool}/${volume.name}@${name}`
      if (volumeSnapshots.has(full)) throw new FleetError('exists', `'${full}' exists already`, { field: 'name' })
      const made = { id: randomUUID(), groupId, volumeId, name, path: full, sizeBytes, createdAt: AT, version: 1 }
      const { jobId } = accept(caller, 'volume.snapshot', () =>
        volumeSnapshots.set(full, { ...made, state: 'available' }),
      )
      return { jobId, snapshot: { ...made, state: 'creating' as const } }
    },
    async deleteSnapshot(caller, path, name) {
      const volume = find(caller, path)
      const full = `${volume.pool}/${volume.name}@${name}`
      if (!volumeSnapshots.has(full)) throw new FleetError('not_found', `there is no snapshot '${full}'`)
      const blockers = clonesOf(full)
      if (blockers.length > 0) throw new FleetError('conflict', `'${full}' is needed`, { blockers })
      return accept(caller, 'volume.delete', () => volumeSnapshots.delete(full))
    },
    async rollback(caller, path, name) {
      requireRole(caller, 'operator')
      const volume = find(caller, path)
      const own = `${volume.pool}/${volume.name}`
      const to = volumeSnapshots.get(`${own}@${name}`)
      if (!to) throw new FleetError('not_found', `there is no snapshot '${own}@${name}'`)
      const { groupId, id: volumeId, sizeBytes } = volume
      const before = { id: randomUUID(), groupId, volumeId, name: SAFETY, path: `${own}@${SAFETY}`, sizeBytes }
      const safety = { ...before, createdAt: AT, version: 1 }
      const { jobId } = accept(caller, 'volume.rollback', () => {
        volumeSnapshots.set(safety.path, { ...safety, state: 'available' })
        volumes.set(own, { ...volume, sizeBytes: to.sizeBytes, guid: randomUUID(), version: volume.version + 1 })
      })
      return { jobId, safety: { ...safety, state: 'creating' as const } }
    },
    async restore(caller, { point, volume: path, sizeBytes = 1_048_576, overwrite = false }) {
      requireRole(caller, 'operator')
      const [pool = '', name = ''] = path.split(/\/(.*)/s)
      if (pool !== 'tank') throw new FleetError('not_found', `there is no pool '${pool}'`, { field: 'volume' })
      volumeRestores.push(point)
      const there = overwrite ? volumes.get(path) : undefined
      if (!there) return make(caller, 'volume.restore', { name, sizeBytes })
      const restored = { ...there, sizeBytes, guid: randomUUID(), origin: null, version: there.version + 1 }
      return { ...accept(caller, 'volume.restore', () => volumes.set(path, restored)), volume: there }
    },
    get: async (caller, idOrPath) => find(caller, idOrPath),
    async list(caller, { pool, host }, page) {
      const shown = [...volumes.entries()]
        .filter(([, one]) => isSeen(caller, one) && (!pool || one.pool === pool) && (!host || one.host === host))
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
      return fakePage(
        shown.map(([, one]) => one),
        page,
      )
    },
    async snapshots(caller, path, page) {
      const { id } = find(caller, path)
      return fakePage(
        [...volumeSnapshots.values()].filter(({ volumeId }) => volumeId === id),
        page,
      )
    },
    async standing(caller, pool, page) {
      requireFleetRole(caller, 'viewer')
      if (pool !== 'tank') throw new FleetError('not_found', `there is no pool '${pool}'`)
      const items = [...volumes.values()].map(({ id, name, sizeBytes, origin }) => ({
        ...{ path: `${pool}/${name}`, sizeBytes, origin },
        snapshots: [...volumeSnapshots.values()].filter((one) => one.volumeId === id).map((one) => one.name),
      }))
      return fakePage(items, page)
    },
  }

  function clonesOf(snapshot: string): string[] {
    return [...volumes.entries()]
      .filter(([, { origin }]) => origin?.startsWith(snapshot))
      .map(([path]) => `volume ${path}`)
  }
}
