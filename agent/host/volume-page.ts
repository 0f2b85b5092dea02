import type { ReadAnswerOf, ReadRequestOf, StandingVolume } from '../../shared/wire/reads.ts'
import type { Volumes } from '../volumes/volumes.ts'
import { fitting } from './fitting.ts'

/** Of one volume; of more the first by name are told. */
const MAX_SNAPSHOTS = 1_000

/** Looked at together; then it is asked whether there is time for more. */
const AT_ONCE = 250

/**
 * What a pool holds this moment, whoever made it.
 * @param untilMs by the clock of `performance.now()`: what was found by then is answered
 * @throws not_found, unavailable: no such pool, or one that holds no volumes
 */
export async function volumePage(
  volumes: (pool: string) => Volumes,
  { pool, cursor = '', limit }: ReadRequestOf<'volumes'>,
  untilMs: number,
): Promise<ReadAnswerOf<'volumes'>> {
  const found: StandingVolume[] = []
  let isMore = true
  do {
    const wanted = Math.min(limit + 1 - found.length, AT_ONCE)
    const some = await volumes(pool).list(found.at(-1)?.path ?? cursor, wanted)
    found.push(...some.map(told))
    isMore = some.length === wanted
  } while (isMore && found.length <= limit && performance.now() < untilMs)
  const items = fitting(found.slice(0, limit))
  return { items: [...items], next: isMore || items.length < found.length ? (items.at(-1)?.path ?? null) : null }
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
