import { atLeast, type Caller } from '../../core/caller.ts'
import type { Core } from '../../core/core.ts'
import type { VolumeCondition, VolumeInfo, VolumeSnapshotInfo } from '../../core/volumes.ts'
import type { VolumeSnapshotView, VolumeView } from './volume-schemas.ts'

type IfMatch = ((etag: string) => boolean) | undefined

/** Of volumes and their snapshots. */
export function etagOfVolume({ id, version }: Pick<VolumeInfo, 'id' | 'version'>): string {
  return `"${id}.${version}"`
}

export function expectingVolume(ifMatch: IfMatch): VolumeCondition | undefined {
  return ifMatch && ((current) => ifMatch(etagOfVolume(current)))
}

/** Paths of hosts are for those who look after hosts. */
export function presentVolume(volume: VolumeInfo, caller: Caller): VolumeView {
  const { id, name, state, host, pool, driver, origin } = volume
  return {
    ...{ id, group_id: volume.groupId, name, path: `${pool}/${name}`, size_bytes: volume.sizeBytes },
    ...{ state, host, pool, driver },
    device: atLeast(caller.fleetRole, 'admin') ? volume.device : null,
    origin,
    created_at: volume.createdAt.toISOString(),
  }
}

export function presentVolumeSnapshot(snapshot: VolumeSnapshotInfo): VolumeSnapshotView {
  const { id, name, path, state } = snapshot
  return {
    ...{ id, name, path, volume_id: snapshot.volumeId, size_bytes: snapshot.sizeBytes, state },
    created_at: snapshot.createdAt.toISOString(),
  }
}

/** Core changes volumes by path: an id leads to it. @throws not_found */
export async function volumePath(core: Core, caller: Caller, idOrPath: string): Promise<string> {
  if (idOrPath.includes('/')) return idOrPath
  const { pool, name } = await core.volumes.get(caller, idOrPath)
  return `${pool}/${name}`
}
