import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { JobSpec } from '../../shared/job-spec.ts'
import { actingFor, atLeast, type Caller, requireRole, visibleGroup } from './caller.ts'
import type { Accepted } from './datasets.ts'
import type { Hold } from './orders.ts'
import type { NewVolume, VolumeBook, VolumeFindings, VolumePlan, VolumeReads, VolumeRow } from './volume-book.ts'
import { volumeNameOf } from './volume-names.ts'
import { isHeldByOthers, sorted } from './volume-rules.ts'
import type { VolumeInfo, VolumeReader } from './volumes.ts'

/** One job, and what is written beside it. */
export interface VolumeWork extends Omit<VolumePlan, 'jobs'> {
  readonly spec: JobSpec
  readonly host: { readonly id: string; readonly name: string }
  readonly holds: readonly Hold[]
  /** Nobody waits for it: it may begin whenever it can. */
  readonly isLong?: true
}

/** What all orders about one volume have in common. */
export function createVolumeWork({ book, reader }: { readonly book: VolumeBook; readonly reader: VolumeReader }) {
  async function order(
    caller: Caller,
    asked: {
      readonly request: unknown
      readonly retryOf: string | undefined
      readonly reads: VolumeReads
      readonly work: (found: VolumeFindings, jobId: string) => VolumeWork
    },
  ): Promise<Accepted> {
    const { groupId, key } = caller
    const keyed = key === undefined ? {} : { key: { hash: key.hash, holder: key.holder, n: key.next() } }
    const { request, retryOf } = asked
    const { jobIds } = await book.place({
      ...{ groupId, by: caller, reads: asked.reads },
      ...keyed,
      decide(found) {
        const id = newId()
        const { spec, host, holds, isLong = false, ...rows } = asked.work(found, id)
        const decision = { request, spec, host, subject: null, holds: sorted(holds), interactive: !isLong }
        return {
          ...rows,
          jobs: [{ id, decision: retryOf === undefined ? decision : { ...decision, retryOf } }],
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

  return { order, find, acting, madeAt }
}

export function newVolume(given: {
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
export function freeId(found: VolumeFindings, path: string, wanted: string | undefined): string {
  return wanted === undefined || found.volume(path)?.id === wanted ? newId() : wanted
}

/** @throws exists where the name is somebody's; one of the same group that goes gives it to the next. */
export function requireFree(found: VolumeFindings, path: string, caller: Caller): void {
  const before = found.volume(path)
  if (isHeldByOthers(found, path, caller)) throw taken(path)
  if (before === undefined || (before.state === 'deleting' && before.groupId === caller.groupId)) return
  throw taken(path)
}

export const DOING = { creating: 'still being made', deleting: 'being deleted' } as const

/** @throws not_found; conflict for one that is being made or deleted. */
export function standing(found: VolumeFindings, path: string, caller: Caller): VolumeRow {
  const volume = found.volume(path)
  if (volume === undefined || volume.groupId !== caller.groupId) throw noVolume(path)
  if (volume.state !== 'available') throw new FleetError('conflict', `'${path}' is ${DOING[volume.state]}`)
  return volume
}

export function placeOf({ path, localPool }: VolumeRow) {
  return { pool: localPool, volume: volumeNameOf(path)?.name ?? '' }
}

export function hostOf({ hostId, host }: VolumeRow) {
  return { id: hostId, name: host }
}

export function alone(lane: string): Hold {
  return { lane, exclusive: true }
}

export function taken(path: string): FleetError {
  return new FleetError('exists', `'${path}' exists already`, { field: 'name' })
}

export function noVolume(path: string): FleetError {
  return new FleetError('not_found', `there is no volume '${path}'`)
}

export function noSnapshot(path: string): FleetError {
  return new FleetError('not_found', `there is no snapshot '${path}'`)
}

/** Paths of hosts are for the fleet's admins. */
export function shownTo(caller: Caller, volume: VolumeRow): VolumeInfo {
  const { id, groupId, path, sizeBytes, state, host, pool, driver, guid, origin, createdAt, version } = volume
  const name = volumeNameOf(path)?.name ?? path
  const device = atLeast(caller.fleetRole, 'admin') ? volume.device : null
  return { id, groupId, name, sizeBytes, state, host, pool, driver, device, guid, origin, createdAt, version }
}
