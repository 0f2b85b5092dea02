import { FleetError } from '../../shared/errors.ts'
import { CreateBlockVolumeRequest } from './block-requests.ts'
import { cloneSourceName, GIB, idFor } from './block-rules.ts'
import type { BlockSnapshotStore, BlockVolumeStore } from './block-store.ts'
import type { CreateBlockVolume } from './block-volumes.ts'
import { type Caller, visibleGroup } from './caller.ts'
import { checkKept, checkRequest } from './check-request.ts'
import { choosePool, type FleetView } from './fleet-view.ts'
import type { Jobs } from './jobs.ts'
import type { VolumeBackups } from './volume-backups.ts'
import { volumeNameOf } from './volume-names.ts'
import type { VolumeInfo, Volumes } from './volumes.ts'

/** Until a volume is snapshotted that another is to be made of; the snapshot goes on. */
const SNAPSHOT_MS = 25_000

interface Made {
  readonly jobId: string
  readonly volume: VolumeInfo
  readonly snapshotId?: string
  readonly sourceVolumeId?: string
  readonly backupId?: string
}

/** What a new volume of the block API is made of. */
export function createBlockSources(deps: {
  readonly volumes: Pick<Volumes, 'create' | 'clone' | 'snapshot' | 'get'>
  readonly backups: Pick<VolumeBackups, 'get' | 'restore'>
  readonly store: Pick<BlockVolumeStore, 'find' | 'describe'>
  readonly snapshots: Pick<BlockSnapshotStore, 'find'>
  readonly jobs: Pick<Jobs, 'settled'>
  readonly fleet: FleetView
}) {
  const { volumes, backups, store, snapshots, jobs, fleet } = deps

  async function ofNothing(caller: Caller, id: string, asked: CreateBlockVolume): Promise<Made> {
    const { sizeGib, pool } = asked
    if (sizeGib === undefined) throw new FleetError('invalid', 'size: is required', { field: 'size' })
    return volumes.create(caller, { id, name: `volume-${id}`, sizeBytes: sizeGib * GIB, pool })
  }

  async function ofSnapshot(caller: Caller, id: string, asked: CreateBlockVolume): Promise<Made> {
    const { snapshotId = '' } = asked
    const snapshot = await snapshots.find(visibleGroup(caller), snapshotId)
    if (snapshot === undefined || snapshot.groupId !== caller.groupId) throw absent('snapshot', snapshotId)
    if (snapshot.status !== 'available') {
      throw new FleetError('conflict', `snapshot ${snapshotId} is '${snapshot.status}'`, { field: 'snapshot_id' })
    }
    const sizeBytes = sizeOf(asked, snapshot.sizeGib)
    const made = await volumes.clone(caller, { id, name: `volume-${id}`, source: snapshot.path, sizeBytes })
    return { ...made, snapshotId }
  }

  /** Through a snapshot of it that the fleet keeps for itself, and waits for. @throws timeout, and why the snapshot failed */
  async function ofVolume(caller: Caller, id: string, asked: CreateBlockVolume): Promise<Made> {
    const { sourceVolumeId = '' } = asked
    const source = await store.find(visibleGroup(caller), sourceVolumeId)
    if (source === undefined || source.groupId !== caller.groupId) throw absent('volume', sourceVolumeId)
    if (source.status !== 'available' && source.status !== 'in-use') {
      throw new FleetError('conflict', `volume ${sourceVolumeId} is '${source.status}'`, { field: 'source_volid' })
    }
    const sizeBytes = sizeOf(asked, source.sizeGib)
    const { jobId, snapshot } = await volumes.snapshot(caller, source.path, cloneSourceName(id))
    await jobs.settled(jobId, { timeoutMs: SNAPSHOT_MS, signal: new AbortController().signal })
    const wanted = { id, name: `volume-${id}`, source: snapshot.path, sizeBytes, discardSource: true }
    return { ...(await volumes.clone(caller, wanted)), sourceVolumeId }
  }

  /** In the pool of the volume that was backed up, where nothing else is asked for: its host can read its own backups. */
  async function ofBackup(caller: Caller, id: string, asked: CreateBlockVolume): Promise<Made> {
    const { backupId = '' } = asked
    const backup = await backups.get(caller, backupId)
    const before = volumeNameOf(backup.volume)?.pool
    const pool = asked.pool ?? (before !== undefined && fleet.pool(before)?.accepts ? before : undefined)
    const volume = `${choosePool(fleet, { pool }).name}/volume-${id}`
    const sizeBytes = sizeOf(asked, Math.ceil(backup.sizeBytes / GIB))
    const made = await backups.restore(caller, backupId, { volume, sizeBytes })
    return { ...made, backupId }
  }

  return async (caller: Caller, request: CreateBlockVolume) => {
    const asked = checkKept(CreateBlockVolumeRequest, checkRequest(CreateBlockVolumeRequest, request))
    const id = idFor(caller, 'block volume')
    const { name = null, description = null, metadata = {} } = asked
    const make = asked.snapshotId ? ofSnapshot : asked.sourceVolumeId ? ofVolume : asked.backupId ? ofBackup : ofNothing
    const { jobId, volume, ...source } = await make(caller, id, asked)
    await store.describe({
      ...{ id: volume.id, groupId: volume.groupId, path: `${volume.pool}/${volume.name}` },
      ...{ host: volume.host, pool: volume.pool, sizeBytes: volume.sizeBytes, name, description, metadata },
      ...{ snapshotId: null, sourceVolumeId: null, backupId: null, ...source },
    })
    return { jobId, id: volume.id }
  }
}

/** In bytes; undefined: as large as its source. @throws invalid where less is asked for than that holds */
function sizeOf({ sizeGib }: CreateBlockVolume, leastGib: number): number | undefined {
  if (sizeGib === undefined) return undefined
  if (sizeGib >= leastGib) return sizeGib * GIB
  throw new FleetError('invalid', `size: must be at least ${leastGib}, as what it is made of`, { field: 'size' })
}

function absent(what: string, id: string): FleetError {
  return new FleetError('not_found', `there is no ${what} ${id}`)
}
