import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { PointPlace } from '../../points/series.ts'
import { readMetadata } from '../../points/series-metadata.ts'

/** Below this no point fits. */
const LEAST_BYTES = 2 ** 20

/**
 * Refuses early what cannot fit, where the target tells how much is free: a full point needs about what the last full one took, one
 * that is made of its chain at most what the chain takes.
 * @throws no_space
 */
export async function requireRoom(
  { target, series }: PointPlace,
  spec: Pick<SpecOf<'point.create'>, 'bases' | 'consolidate'>,
  signal: AbortSignal,
): Promise<void> {
  const free = await target.free({ signal })
  if (free === undefined) return
  const expected = Math.max(LEAST_BYTES, await expectedBytes({ target, series }, spec, signal))
  if (free.freeBytes >= expected) return
  const message = `target '${target.name}' has room for ${free.freeBytes} bytes; about ${expected} are needed`
  throw new FleetError('no_space', message)
}

async function expectedBytes(
  { target, series }: Pick<PointPlace, 'target' | 'series'>,
  { bases, consolidate }: Pick<SpecOf<'point.create'>, 'bases' | 'consolidate'>,
  signal: AbortSignal,
): Promise<number> {
  if (bases.length > 0 && !consolidate) return 0
  const known = await readMetadata(target, series, signal)
  const last = known.findLast(({ full }) => full === true)
  // Half of it: what is backed up may have shrunk, and being wrong here would refuse what fits.
  return Math.ceil((last?.storedBytes ?? 0) / 2)
}
