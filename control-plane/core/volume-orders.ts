import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { JobSpec } from '../../shared/job-spec.ts'
import { requireFleetRole, requireRole, visibleGroup } from './caller.ts'
import { checkRequest } from './check-request.ts'
import { requireCondition } from './condition.ts'
import type { ExportReader } from './exports.ts'
import { choosePool, type FleetView, requireAccepting, requireOnline } from './fleet-view.ts'
import type { HostReads } from './host-reads.ts'
import type { PointReader } from './point-orders.ts'
import type { TargetReader } from './targets.ts'
import type { VolumeBook } from './volume-book.ts'
import { laneOf } from './volume-names.ts'
import {
  CloneVolumeRequest,
  CreateVolumeRequest,
  DeleteVolumeRequest,
  ResizeVolumeRequest,
  SnapshotVolumeRequest,
} from './volume-requests.ts'
import { createVolumeReturns } from './volume-returns.ts'
import { blockersOf, requireSource, requireUnneeded } from './volume-rules.ts'
import {
  alone,
  createVolumeWork,
  DOING,
  freeId,
  hostOf,
  newVolume,
  noSnapshot,
  placeOf,
  requireFree,
  shownTo,
  standing,
  taken,
} from './volume-work.ts'
import type { VolumeOrders, VolumeReader } from './volumes.ts'

export function createVolumes(deps: {
  readonly book: VolumeBook
  readonly reader: VolumeReader
  readonly exports: Pick<ExportReader, 'list'>
  readonly points: Pick<PointReader, 'find'>
  readonly targets: Pick<TargetReader, 'find'>
  readonly fleet: FleetView
  readonly reads: HostReads
  readonly now?: () => number
}): VolumeOrders {
  const { book, reader, fleet, reads } = deps

  const work = createVolumeWork({ book, reader })
  const { order, find, acting, madeAt } = work

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
          const { sizeBytes, isBeingMade } = requireSource(found, source, caller)
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
            ...(asked.discardSource ? { discardSource: true } : {}),
          }
          const holds = [alone(made.lane), { lane: laneOf.volume(pool.host.name, from), exclusive: isBeingMade }]
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
          // Beside whatever only reads it: points of it take hours.
          return { spec, host: hostOf(volume), holds: [{ lane: volume.lane, exclusive: false }], snapshots: [made] }
        },
      })
      const snapshot = await reader.snapshot(forGroup.groupId, full)
      if (snapshot === undefined) throw new FleetError('not_found', 'the snapshot that was ordered is gone already')
      return { ...accepted, snapshot }
    },

    async deleteSnapshot(caller, path, name, retryOf, only) {
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
          requireCondition(only, snapshot)
          if (snapshot.state !== 'available') throw new FleetError('conflict', `'${full}' is ${DOING[snapshot.state]}`)
          const clones = found.clonesOf(path).filter(({ origin }) => origin === full)
          const blockers = [
            ...clones.map((clone) => `volume ${clone.path}`),
            ...(snapshot.partOf === null ? [] : [`instance snapshot ${snapshot.partOf}`]),
          ]
          requireUnneeded(full, blockers)
          requireOnline(fleet, volume.host)
          const place = { ...placeOf(volume), snapshot: name }
          const spec: JobSpec = { kind: 'volume.delete', place, volumeId: snapshot.id }
          const removes = { snapshots: [snapshot.id] }
          return { spec, host: hostOf(volume), holds: [alone(volume.lane)], removes }
        },
      })
    },

    ...createVolumeReturns({ ...deps, work }),

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
