import { FleetError } from '../../shared/errors.ts'
import { isPoint, type PointPlace } from './series.ts'
import { readMetadata } from './series-metadata.ts'

/**
 * That no point which stands on the target rests on this one, by what the target itself tells: Postgres may have been restored
 * from before it was made.
 * @throws conflict
 */
export async function requireUnused(place: PointPlace, signal: AbortSignal): Promise<void> {
  for (const { name, chain = [] } of await readMetadata(place.target, place.series, signal)) {
    if (name === place.name || !chain.includes(place.name)) continue
    if (!(await isPoint({ ...place, name }, { signal }))) continue
    throw new FleetError('conflict', `point ${name} on the target rests on this one, and the fleet does not know of it`)
  }
}
