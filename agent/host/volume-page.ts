import type { ReadAnswerOf, ReadRequestOf, StandingVolume } from '../../shared/wire/reads.ts'
import type { Volumes } from '../volumes/volumes.ts'
import { fitting } from './fitting.ts'

/** Of one volume; of more the first by name are told. */
const MAX_SNAPSHOTS = 1_000

/** What a pool holds this moment, whoever made it. @throws not_found, unavailable: no such pool, or one that holds no volumes */
export async function volumePage(
  volumes: (pool: string) => Volumes,
  { pool, cursor = '', limit }: ReadRequestOf<'volumes'>,
): Promise<ReadAnswerOf<'volumes'>> {
  const found = await volumes(pool).list(cursor, limit + 1)
  const items = fitting(found.slice(0, limit).map(told))
  const last = items.at(-1)
  return { items: [...items], next: items.length < found.length && last !== undefined ? last.path : null }
}

function told({
  path,
  sizeBytes,
  guid,
  origin,
  snapshots,
}: Awaited<ReturnType<Volumes['list']>>[number]): StandingVolume {
  return {
    path,
    sizeBytes,
    guid,
    origin: origin?.path === undefined ? null : `${origin.path}@${origin.snapshot}`,
    snapshots: snapshots.slice(0, MAX_SNAPSHOTS).map(({ name }) => name),
    isCut: snapshots.length > MAX_SNAPSHOTS,
  }
}
