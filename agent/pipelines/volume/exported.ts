import { FleetError, toFleetError } from '../../../shared/errors.ts'
import type { VolumePlace } from '../../../shared/volume-spec.ts'
import type { Volume } from '../../volumes/volumes.ts'
import type { PipelineTools } from '../pipeline.ts'

/** @throws conflict with the wwns that show it */
export function refuseExported(
  { exports }: Pick<PipelineTools, 'exports'>,
  { pool, volume }: VolumePlace,
  why: string,
): void {
  const blockers = exports.ofVolume({ pool, volume }).map(({ wwn }) => wwn)
  if (blockers.length > 0) throw new FleetError('conflict', `volume ${volume} ${why}`, { blockers })
}

/** Early, so that no work is done in vain; it is asked again when its exports are closed. @throws conflict with the wwns, unavailable */
export async function refuseSessions(
  { exports }: Pick<PipelineTools, 'exports'>,
  { pool, volume }: VolumePlace,
  signal: AbortSignal,
): Promise<void> {
  const sessions = await exports.sessionsOf({ pool, volume }, signal)
  const blockers = [...new Set(sessions.map(({ wwn }) => wwn))]
  if (blockers.length > 0) throw new FleetError('conflict', `volume ${volume} is in use`, { blockers })
}

/** An earlier run has replaced the volume; its exports are opened as what it is now, should that run have ended between the two. */
export async function openAgain(
  { exports, logger }: Pick<PipelineTools, 'exports' | 'logger'>,
  { place, now, jobId }: { readonly place: VolumePlace; readonly now: Volume; readonly jobId: string },
  signal: AbortSignal,
): Promise<void> {
  const { pool, volume } = place
  if (exports.ofVolume({ pool, volume }).every(({ guid }) => guid === now.guid)) return
  // It has been replaced all the same: who keeps the truth about exports sees that this host's are not as they should be.
  await exports
    .replace({ pool, volume }, async () => now, signal)
    .catch((error: unknown) => logger.warn({ event: 'volume.not_opened_again', jobId, err: toFleetError(error) }))
}
