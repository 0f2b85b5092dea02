import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { JobSpec } from '../../shared/job-spec.ts'
import { type Caller, requireRole } from './caller.ts'
import { checkRequest } from './check-request.ts'
import { requireCondition } from './condition.ts'
import { createLiveExports } from './export-live.ts'
import type { ExportReader } from './exports.ts'
import { type FleetView, type LivePool, requireOnline } from './fleet-view.ts'
import type { HostReads } from './host-reads.ts'
import { type KeptPoint, localTarget, noPoint, orderTarget, type PointReader, readableOf } from './point-orders.ts'
import { requireReach } from './point-restore.ts'
import { nameAt, uuidOf } from './point-series.ts'
import type { TargetReader } from './targets.ts'
import type { VolumeFindings, VolumeRow } from './volume-book.ts'
import { laneOf, type VolumeName } from './volume-names.ts'
import { RestoreVolumeRequest, RollbackVolumeRequest } from './volume-requests.ts'
import { requireUnneeded } from './volume-rules.ts'
import {
  alone,
  type createVolumeWork,
  DOING,
  freeId,
  hostOf,
  newVolume,
  noSnapshot,
  placeOf,
  requireFree,
  standing,
} from './volume-work.ts'
import type { VolumeOrders, VolumeReader } from './volumes.ts'

/** A volume is exported a few times at most. */
const MAX_EXPORTS = 1_000

/** Volumes that become what they were: at a snapshot of theirs, or at a point. */
export function createVolumeReturns(deps: {
  readonly work: ReturnType<typeof createVolumeWork>
  readonly reader: VolumeReader
  readonly exports: Pick<ExportReader, 'list'>
  readonly points: Pick<PointReader, 'find'>
  readonly targets: Pick<TargetReader, 'find'>
  readonly fleet: FleetView
  readonly reads: HostReads
  readonly now?: () => number
}): Pick<VolumeOrders, 'rollback' | 'restore'> {
  const { reader, exports, points, targets, fleet, now = Date.now } = deps
  const { order, acting, madeAt } = deps.work
  const liveOf = createLiveExports(deps)

  /** Told before anything is ordered; the agent looks again when it comes to that. @throws conflict */
  async function requireUnused(path: string): Promise<void> {
    const { items } = await exports.list(null, { volume: path }, { limit: MAX_EXPORTS })
    if (items.length === 0) return
    const live = await liveOf(items)
    const used = items.filter(({ id }) => (live.get(id)?.sessions.length ?? 0) > 0)
    requireUnneeded(
      path,
      used.map(({ wwn }) => `export ${wwn}`),
    )
  }

  async function wholePoint(caller: Caller, id: string): Promise<KeptPoint> {
    const point = await points.find(caller.groupId, id)
    if (point === undefined) throw noPoint(id)
    if (point.source.kind === 'volume') return point
    throw new FleetError('invalid', 'volume: only a point of a volume becomes one', { field: 'volume' })
  }

  /** The one that a new volume is made in. */
  function poolOf({ pool: name }: VolumeName): LivePool {
    const pool = fleet.pool(name)
    if (pool === undefined) throw new FleetError('not_found', `there is no pool '${name}'`, { field: 'volume' })
    if (pool.accepts) return pool
    throw new FleetError('unavailable', `host '${pool.host.name}' is offline or draining`)
  }

  return {
    async rollback(caller, path, name, retryOf, only) {
      checkRequest(RollbackVolumeRequest, { volume: path, name })
      const forGroup = await acting(caller, path)
      await requireUnused(path)
      const full = `${path}@${name}`
      const reads = { volumes: [path], snapshots: [full], needed: [path] }
      const accepted = await order(forGroup, {
        ...{ request: { volume: path, name }, retryOf, reads },
        work(found, jobId) {
          const volume = standing(found, path, forGroup)
          requireCondition(only, volume)
          const snapshot = found.snapshot(full)
          if (snapshot === undefined) throw noSnapshot(full)
          if (snapshot.state !== 'available') throw new FleetError('conflict', `'${full}' is ${DOING[snapshot.state]}`)
          requireOnline(fleet, volume.host)
          const safety = safetyName(found, path, now())
          const safetyId = safetyIdOf(jobId)
          const { id: volumeId, groupId, sizeBytes } = volume
          const place = { ...placeOf(volume), snapshot: name }
          const spec: JobSpec = { kind: 'volume.rollback', place, safety, safetyId, volumeId }
          const row = { id: safetyId, groupId, volumeId, name: safety, path: `${path}@${safety}`, sizeBytes }
          return { spec, host: hostOf(volume), holds: [alone(volume.lane)], snapshots: [row] }
        },
      })
      const safety = await reader.snapshot(forGroup.groupId, safetyIdOf(accepted.jobId))
      if (safety === undefined) throw new FleetError('not_found', 'the snapshot that was ordered is gone already')
      return { ...accepted, safety }
    },

    async restore(caller, request, retryOf, only) {
      requireRole(caller, 'operator')
      const { volume: name, ...asked } = checkRequest(RestoreVolumeRequest, request)
      const info = await wholePoint(caller, asked.point)
      const kept = info.target === null ? undefined : await targets.find(caller.groupId, info.target.id)
      const target = kept ? orderTarget(kept) : localTarget(caller.groupId)
      const { overwrite = false, createParent = false, sizeBytes } = asked
      const { path } = name
      if (overwrite) await requireUnused(path)
      const accepted = await order(caller, {
        request: { ...asked, volume: path },
        ...{ retryOf, reads: { volumes: [path], free: [path], points: [info.id] } },
        work(found) {
          const point = found.points.withPointId(info.id)
          if (point === undefined) throw noPoint(info.id)
          const { readable, holds } = readableOf(found.points, point, target)
          const over = overwrite ? replacedBy(found, path, caller) : undefined
          const spec = {
            kind: 'volume.restore',
            ...readable,
            createParent,
            ...(sizeBytes ? { sizeBytes } : {}),
          } as const
          if (over) {
            requireCondition(only, over)
            requireOnline(fleet, over.host)
            requireReach(point, over.host, 'volume')
            return {
              spec: { ...spec, mode: 'over', place: placeOf(over), volumeId: over.id },
              ...{ host: hostOf(over), holds: [...holds, alone(over.lane)], isLong: true },
            }
          }
          requireFree(found, path, caller)
          const pool = poolOf(name)
          requireReach(point, pool.host.name, 'volume')
          const place = { pool: pool.localName, volume: name.name }
          const lane = laneOf.volume(pool.host.name, place)
          const made = newVolume({ caller, path, poolId: pool.id, lane, id: freeId(found, path, asked.id) })
          return {
            spec: { ...spec, mode: 'new', place, volumeId: made.id },
            ...{ host: pool.host, holds: [...holds, alone(lane)], isLong: true },
            volumes: [{ ...made, sizeBytes: sizeBytes ?? 0 }],
          }
        },
      })
      return { ...accepted, volume: await madeAt(caller, path) }
    },
  }
}

/** By which the answer finds it, whichever request under one key placed the job. */
function safetyIdOf(jobId: string): string {
  return uuidOf(['safety', jobId])
}

/** The one whose place it takes; undefined where none of the group stands there. @throws conflict while that is being made. */
function replacedBy(found: VolumeFindings, path: string, caller: Caller): VolumeRow | undefined {
  const there = found.volume(path)
  if (there === undefined || there.groupId !== caller.groupId || there.state === 'deleting') return undefined
  return standing(found, path, caller)
}

/** The UTC second, or the first one after it that no snapshot of the volume is called after. */
function safetyName(found: VolumeFindings, path: string, nowMs: number): string {
  const taken = new Set(found.snapshotsOf(path))
  const seconds = Array.from({ length: taken.size + 1 }, (_, n) => `before-${nameAt(nowMs + n * 1000)}`)
  return seconds.find((name) => !taken.has(`${path}@${name}`)) ?? `before-${newId()}`
}
