import { FleetError } from '../../shared/errors.ts'
import type { LockedJob } from './job-change.ts'
import type { VolumeRow } from './volume-book.ts'
import { laneOf } from './volume-names.ts'
import type { VolumeReader } from './volumes.ts'

export type VolumeNames = Pick<VolumeReader, 'find' | 'snapshot'>

/** A volume that a point is made of, as it is or as it was at one of its snapshots. */
export interface LocatedVolume {
  readonly volume: VolumeRow
  /** Behind the `@`. */
  readonly snapshot: string | null
}

/** @throws not_found, conflict (it, or the snapshot, is being made or deleted). */
export async function locateVolume(
  volumes: VolumeNames,
  groupId: string,
  wish: { readonly volume: string; readonly snapshot?: string | undefined },
): Promise<LocatedVolume> {
  const volume = await volumes.find(groupId, wish.volume)
  if (volume === undefined) {
    throw new FleetError('not_found', `there is no volume '${wish.volume}'`, { field: 'source.volume' })
  }
  requireAvailable(volume, 'source.volume')
  if (wish.snapshot === undefined) return { volume, snapshot: null }
  const path = `${volume.path}@${wish.snapshot}`
  const snapshot = await volumes.snapshot(groupId, path)
  if (snapshot?.volumeId !== volume.id) {
    throw new FleetError('not_found', `there is no snapshot '${path}'`, { field: 'source.snapshot' })
  }
  requireAvailable(snapshot, 'source.snapshot')
  return { volume, snapshot: snapshot.name }
}

function requireAvailable({ path, state }: Pick<VolumeRow, 'path' | 'state'>, field: string): void {
  if (state === 'creating') throw new FleetError('conflict', `'${path}' is still being made`, { field })
  if (state === 'deleting') throw new FleetError('conflict', `'${path}' is being deleted`, { field })
}

/**
 * What a job lets go of as soon as it has an image of its source: the dataset, or the volume. One of its snapshots is that image, and stays
 * until the job has ended.
 */
export function releasedLane({ spec, host, datasetId }: Pick<LockedJob, 'spec' | 'host' | 'datasetId'>): string | null {
  if (spec.kind !== 'point.create' || spec.source.kind !== 'volume') return datasetId
  return spec.source.snapshot === undefined ? laneOf.volume(host, spec.source.place) : null
}
