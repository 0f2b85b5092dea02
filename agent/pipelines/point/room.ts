import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { PointRecord } from '../../points/series-metadata.ts'
import type { Target } from '../../transfer/transfer.ts'

/** Below this no point fits. */
const LEAST_BYTES = 2 ** 20

/**
 * Refuses early what cannot fit, where the target tells how much is free: a full point needs about as much as the last full one.
 * @throws no_space
 */
export async function requireRoom(
  target: Target,
  { bases, consolidate }: Pick<SpecOf<'point.create'>, 'bases' | 'consolidate'>,
  { known, signal }: { readonly known: readonly PointRecord[]; readonly signal: AbortSignal },
): Promise<void> {
  const free = await target.free({ signal })
  if (free === undefined) return
  const last = bases.length > 0 && !consolidate ? undefined : known.findLast(({ full }) => full === true)
  // Half of it: what is backed up may have shrunk, and being wrong here would refuse what fits.
  const expected = Math.max(LEAST_BYTES, Math.ceil((last?.storedBytes ?? 0) / 2))
  if (free.freeBytes >= expected) return
  const message = `target '${target.name}' has room for ${free.freeBytes} bytes; about ${expected} are needed`
  throw new FleetError('no_space', message)
}
