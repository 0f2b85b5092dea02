import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { JobSpec } from '../../shared/job-spec.ts'
import { actingFor, atLeast, type Caller, requireFleetRole, requireRole, visibleGroup } from './caller.ts'
import { checkRequest } from './check-request.ts'
import { requireCondition } from './condition.ts'
import type { Accepted } from './datasets.ts'
import { choosePool, type FleetView, requireAccepting, requireOnline } from './fleet-view.ts'
import type { HostReads } from './host-reads.ts'
import type { Hold } from './orders.ts'
import type { NewVolume, VolumeBook, VolumeFindings, VolumePlan, VolumeReads, VolumeRow } from './volume-book.ts'
import { laneOf, volumeNameOf } from './volume-names.ts'
import {
  CloneVolumeRequest,
  CreateVolumeRequest,
  DeleteVolumeRequest,
  ResizeVolumeRequest,
  SnapshotVolumeRequest,
} from './volume-requests.ts'
import { blockersOf, isHeldByOthers, requireSource, requireUnneeded, sorted } from './volume-rules.ts'
import type { VolumeInfo, VolumeOrders, VolumeReader } from './volumes.ts'

/** One job, and what is written beside it. */
interface Work extends Omit<VolumePlan, 'jobs'> {
  readonly spec: JobSpec
  readonly host: { readonly id: string; readonly name: string }
  readonly holds: readonly Hold[]
}

export function createVolumes(deps: {
  readonly book: VolumeBook
  readonly reader: VolumeReader
  readonly fleet: FleetView
  readonly reads: HostReads
}): VolumeOrders {
  const { book, reader, fleet, reads } = deps

  async function order(
    caller: Caller,
    asked: {
      readonly request: unknown
      readonly retryOf: string | undefined
      readonly reads: VolumeReads
      readonly work: (found: VolumeFindings) => Work
    },
  ): Promise<Accepted> {
    const { groupId, key } = caller
    const keyed = key === undefined ? {} : { key: { hash: key.hash, holder: key.holder, n: key.next() } }
    const { request, retryOf } = asked
    const { jobIds } = await book.place({
      ...{ groupId, by: caller, reads: asked.reads },
      ...keyed,
      decide(found) {
        const { spec, host, holds, ...rows } = asked.work(found)
        const decision = { request, spec, host, subject: null, holds: sorted(holds), interactive: true }
        return {
          ...rows,
          jobs: [{ id: newId(), decision: retryOf === undefined ? decision : { ...decision, retryOf } }],
        }
      },
    })
    return { jobId: jobIds[0] ?? '' }
  }

  async function find(caller: Caller, idOrPath: string): Promise<VolumeRow> {
    const volume = await reader.find(visibleGroup(caller), idOrPath)
    if (volume === undefined) throw noVolume(idOrPath)
    return volume
  }

  /** Whoever may work on it, acting for its group. @throws forbidden, not_found. */
  async function acting(caller: Caller, path: string): Promise<Caller> {
    requireRole(caller, 'operator')
    const forGroup = actingFor(caller, (await find(caller, path)).groupId)
    requireRole(forGroup, 'operator')
    return forGroup
  }

  async function madeAt(caller: Caller, path: string): Promise<VolumeInfo> {
    const volume = await reader.find(caller.groupId, path)
    if (volume === undefined) throw new FleetError('not_found', 'the volume that was ordered is gone already')
    return shownTo(caller, volume)
  }

  return {
    async create(caller, request, retryOf) {
      requireRole(caller, 'operator')
      const asked = checkRequest(CreateVolumeRequest, request)
      const pool = choosePool(fleet, asked)
      const path = `${pool.name}/${asked.name}`
      const accepted = await order(caller, {
        ...{ request: asked, retryOf, reads: { volumes: [path], free: [path] } },
        work(found) {
          requireFree(found, path, caller)
          const place = { pool: pool.localName, volume: asked.name }
          const lane = laneOf.volume(pool.host.name, place)
          const made = newVolume({ caller, path, poolId: pool.id, lane, id: freeId(found, path, asked.id) })
          const { sizeBytes, createParent = false } = asked
          const spec: JobSpec = { kind: 'volume.create', place, sizeBytes, createParent, volumeId: made.id }
          return { spec, host: pool.host, holds: [alone(made.lane)], volumes: [{ ...made, sizeBytes }] }
        },
      })
      return { ...accepted, volume: await madeAt(caller, path) }
    },

    async clone(caller, request, retryOf) {
      requireRole(caller, 'operator')
      const asked = checkRequest(CloneVolumeRequest, request)
      const { source, name, createParent = false } = asked
      const pool = choosePool(fleet, { pool: source.pool })
      const path = `${pool.name}/${name}`
      const of = `${source.pool}/${source.name}`
      const accepted = await order(caller, {
        request: { ...asked, source: source.path, createParent },
        ...{ retryOf, reads: { volumes: [path, of], snapshots: [source.path], free: [path] } },
        work(found) {
          const { sizeBytes } = requireSource(found, source, caller)
          if (asked.sizeBytes !== undefined && asked.sizeBytes < sizeBytes) {
            throw new FleetError('conflict', `'${source.path}' is larger`, { field: 'sizeBytes' })
          }
          requireFree(found, path, caller)
          const place = { pool: pool.localName, volume: name }
          const from = { pool: pool.localName, volume: source.name }
          const lane = laneOf.volume(pool.host.name, place)
          const made = newVolume({ caller, path, poolId: pool.id, lane, id: freeId(found, path, asked.id) })
          const spec: JobSpec = {
            kind: 'volume.clone',
            source: { ...from, snapshot: source.snapshot },
            ...{ place, createParent, volumeId: made.id },
            ...(asked.sizeBytes === undefined ? {} : { sizeBytes: asked.sizeBytes }),
          }
          const holds = [alone(made.lane), { lane: laneOf.volume(pool.host.name, from), exclusive: false }]
          return {
            spec,
            host: pool.host,
            holds,
            volumes: [{ ...made, sizeBytes: asked.sizeBytes ?? sizeBytes, origin: source.path }],
          }
        },
      })
      return { ...accepted, volume: await madeAt(caller, path) }
    },

    async resize(caller, path, sizeBytes, ifMatch, retryOf) {
      const asked = checkRequest(ResizeVolumeRequest, { volume: path, sizeBytes })
      const forGroup = await acting(caller, path)
      return order(forGroup, {
        ...{ request: { volume: path, sizeBytes }, retryOf, reads: { volumes: [path] } },
        work(found) {
          const volume = standing(found, path, forGroup)
          requireCondition(ifMatch, shownTo(forGroup, volume))
          requireOnline(fleet, volume.host)
          if (asked.sizeBytes < volume.sizeBytes) {
            throw new FleetError('conflict', `'${path}' is larger, and never becomes smaller`, { field: 'sizeBytes' })
          }
          const spec: JobSpec = { kind: 'volume.resize', place: placeOf(volume), sizeBytes, volumeId: volume.id }
          return { spec, host: hostOf(volume), holds: [alone(volume.lane)] }
        },
      })
    },

    async delete(caller, path, ifMatch, retryOf) {
      checkRequest(DeleteVolumeRequest, { volume: path })
      const forGroup = await acting(caller, path)
      return order(forGroup, {
        ...{ request: { volume: path }, retryOf, reads: { volumes: [path], needed: [path] } },
        work(found) {
          const volume = standing(found, path, forGroup)
          requireCondition(ifMatch, shownTo(forGroup, volume))
          requireUnneeded(path, blockersOf(found, path))
          requireOnline(fleet, volume.host)
          const spec: JobSpec = { kind: 'volume.delete', place: placeOf(volume), volumeId: volume.id }
          const removes = { volumes: [volume.id] }
          return { spec, host: hostOf(volume), holds: [alone(volume.lane)], removes }
        },
      })
    },

    async snapshot(caller, path, name, retryOf) {
      checkRequest(SnapshotVolumeRequest, { volume: path, name })
      const forGroup = await acting(caller, path)
      const full = `${path}@${name}`
      const accepted = await order(forGroup, {
        ...{ request: { volume: path, name }, retryOf, reads: { volumes: [path], snapshots: [full] } },
        work(found) {
          const volume = standing(found, path, forGroup)
          const before = found.snapshot(full)
          if (before !== undefined && before.state !== 'deleting') throw taken(full)
          requireAccepting(fleet, volume.host)
          const { id: volumeId, groupId, sizeBytes } = volume
          const made = { id: newId(), groupId, volumeId, name, path: full, sizeBytes }
          const place = { ...placeOf(volume), snapshot: name }
          const spec: JobSpec = { kind: 'volume.snapshot', place, volumeId: made.id }
          return { spec, host: hostOf(volume), holds: [alone(volume.lane)], snapshots: [made] }
        },
      })
      const snapshot = await reader.snapshot(forGroup.groupId, full)
      if (snapshot === undefined) throw new FleetError('not_found', 'the snapshot that was ordered is gone already')
      return { ...accepted, snapshot }
    },

    async deleteSnapshot(caller, path, name, retryOf) {
      checkRequest(DeleteVolumeRequest, { volume: path, name })
      const forGroup = await acting(caller, path)
      const full = `${path}@${name}`
      return order(forGroup, {
        request: { volume: path, name },
        ...{ retryOf, reads: { volumes: [path], snapshots: [full], needed: [path] } },
        work(found) {
          const volume = standing(found, path, forGroup)
          const snapshot = found.snapshot(full)
          if (snapshot === undefined) throw noSnapshot(full)
          if (snapshot.state !== 'available') throw new FleetError('conflict', `'${full}' is ${DOING[snapshot.state]}`)
          const clones = found.clonesOf(path).filter(({ origin }) => origin === full)
          const blockers = clones.map((clone) => `volume ${clone.path}`)
          requireUnneeded(full, blockers)
          requireOnline(fleet, volume.host)
          const place = { ...placeOf(volume), snapshot: name }
          const spec: JobSpec = { kind: 'volume.delete', place, volumeId: snapshot.id }
          const removes = { snapshots: [snapshot.id] }
          return { spec, host: hostOf(volume), holds: [alone(volume.lane)], removes }
        },
      })
    },

    rollback: async () => {
      throw new FleetError('refused', 'volumes are not rolled back yet')
    },

    restore: async () => {
      throw new FleetError('refused', 'volumes are not restored yet')
    },

    get: async (caller, idOrPath) => shownTo(caller, await find(caller, idOrPath)),

    async list(caller, filter, page) {
      const found = await reader.list(visibleGroup(caller), filter, page)
      return { ...found, items: found.items.map((volume) => shownTo(caller, volume)) }
    },

    snapshots: async (caller, path, page) => reader.snapshots((await find(caller, path)).id, page),

    async standing(caller, name, page) {
      requireFleetRole(caller, 'viewer')
      const pool = fleet.pool(name)
      if (pool === undefined) throw new FleetError('not_found', `there is no pool '${name}'`)
      requireOnline(fleet, pool.host.name)
      const { limit, cursor } = page
      const request = { pool: pool.localName, limit, ...(cursor === undefined ? {} : { cursor }) }
      const { items, next } = await reads.ask(pool.host.name, 'volumes', request)
      return {
        items: items.map(({ path, sizeBytes, snapshots, origin }) => ({
          ...{ path: `${name}/${path}`, sizeBytes, snapshots },
          origin: origin === null ? null : `${name}/${origin}`,
        })),
        nextCursor: next,
      }
    },
  }
}

function newVolume(given: {
  readonly caller: Caller
  readonly path: string
  readonly poolId: string
  readonly lane: string
  readonly id: string
}): NewVolume {
  const { caller, path, poolId, lane, id } = given
  return { id, groupId: caller.groupId, poolId, path, lane, sizeBytes: 0, origin: null }
}

/** A retry asks for the id that its first try asked for: the row of that one may still be on its way out. */
function freeId(found: VolumeFindings, path: string, wanted: string | undefined): string {
  return wanted === undefined || found.volume(path)?.id === wanted ? newId() : wanted
}

/** @throws exists where the name is somebody's; one of the same group that goes gives it to the next. */
function requireFree(found: VolumeFindings, path: string, caller: Caller): void {
  const before = found.volume(path)
  if (isHeldByOthers(found, path, caller)) throw taken(path)
  if (before === undefined || (before.state === 'deleting' && before.groupId === caller.groupId)) return
  throw taken(path)
}

const DOING = { creating: 'still being made', deleting: 'being deleted' } as const

/** @throws not_found; conflict for one that is being made or deleted. */
function standing(found: VolumeFindings, path: string, caller: Caller): VolumeRow {
  const volume = found.volume(path)
  if (volume === undefined || volume.groupId !== caller.groupId) throw noVolume(path)
  if (volume.state !== 'available') throw new FleetError('conflict', `'${path}' is ${DOING[volume.state]}`)
  return volume
}

function placeOf({ path, localPool }: VolumeRow) {
  return { pool: localPool, volume: volumeNameOf(path)?.name ?? '' }
}

function hostOf({ hostId, host }: VolumeRow) {
  return { id: hostId, name: host }
}

function alone(lane: string): Hold {
  return { lane, exclusive: true }
}

function taken(path: string): FleetError {
  return new FleetError('exists', `'${path}' exists already`, { field: 'name' })
}

function noVolume(path: string): FleetError {
  return new FleetError('not_found', `there is no volume '${path}'`)
}

function noSnapshot(path: string): FleetError {
  return new FleetError('not_found', `there is no snapshot '${path}'`)
}

/** Paths of hosts are for the fleet's admins. */
function shownTo(caller: Caller, volume: VolumeRow): VolumeInfo {
  const { id, groupId, path, sizeBytes, state, host, pool, driver, guid, origin, createdAt, version } = volume
  const name = volumeNameOf(path)?.name ?? path
  const device = atLeast(caller.fleetRole, 'admin') ? volume.device : null
  return { id, groupId, name, sizeBytes, state, host, pool, driver, device, guid, origin, createdAt, version }
}
