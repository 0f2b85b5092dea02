import type { Driver } from '../drivers/driver.ts'
import type { Volumes } from '../volumes/volumes.ts'
import type { OwnDataset } from './own-datasets.ts'

/** Where the agent's own things lie. */
export interface OwnPlaces {
  driver(pool: string): Driver
  volumes(pool: string): Volumes
}

const unwatched = { signal: new AbortController().signal, progress: () => undefined }

/** Whether it is there, and what it was made of too where that is a volume: without it, nothing will be compared with it. */
export async function isStanding(own: OwnDataset, places: OwnPlaces): Promise<boolean> {
  const { pool, dataset, volume } = own
  if (volume === undefined) return (await places.driver(pool).find(dataset)) !== undefined
  const volumes = places.volumes(pool)
  const name = { volume, id: dataset }
  const { bases } = volumes
  const isKept = bases === undefined ? (await volumes.findCapture(name)) !== undefined : await bases.has(name)
  return isKept && (await volumes.find(volume)) !== undefined
}

/** Absence is success. */
export async function destroyOwn({ pool, dataset, volume }: OwnDataset, places: OwnPlaces): Promise<void> {
  if (volume === undefined) await places.driver(pool).destroy(dataset, unwatched)
  else await places.volumes(pool).dropCapture({ volume, id: dataset })
}
