import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { JobSpec } from '../../shared/job-spec.ts'
import type { WantedExport } from '../../shared/volume-spec.ts'
import { fitsMessage, sealedBytes } from './export-jobs.ts'
import type { ExportRow, VolumeFindings, VolumePlan } from './volume-book.ts'
import { laneOf, volumeNameOf } from './volume-names.ts'

/** Of those that are kept nobody knows the length without opening them. */
const MAX_SECRET_BYTES = 255

/** Of what a host exports nobody is told for so long at the most, after a restore of the station; what is later was set by a clock that was ahead. */
export const LONGEST_PAUSE_DAYS = 8

/** What a host is to export: what stands, as far as Postgres knows. */
export function wantedOf(exports: readonly ExportRow[]): readonly WantedExport[] {
  return exports
    .filter(({ state }) => state === 'available')
    .map(({ id, wwn, localPool, volume, initiators, chapUser, isReadonly }) => ({
      ...{ exportId: id, wwn },
      place: { pool: localPool, volume: volumeNameOf(volume)?.name ?? '' },
      access: { initiators: [...initiators], chapUser, ...(isReadonly ? { isReadonly } : {}) },
    }))
}

/** @throws conflict while jobs about its exports are open, or when it was told a moment ago; too_large. */
export function planReconcile(
  found: Pick<VolumeFindings, 'hostExports' | 'hasOpenExportJobs' | 'mayReconcile'>,
  host: { readonly id: string; readonly name: string },
  given: { readonly retryOf?: string; readonly now?: boolean },
): VolumePlan {
  if (found.hasOpenExportJobs) throw new FleetError('conflict', `jobs about the exports of '${host.name}' are open`)
  if (!given.now && !found.mayReconcile) throw new FleetError('conflict', `'${host.name}' was told a moment ago`)
  const spec: JobSpec = { kind: 'export.reconcile', exports: [...wantedOf(found.hostExports)] }
  const withSecret = found.hostExports.filter(({ state, chapUser }) => state === 'available' && chapUser !== null)
  const sealed = withSecret.reduce((sum, { wwn }) => sum + sealedBytes({ wwn, secretBytes: MAX_SECRET_BYTES }), 0)
  // A host with more is told nothing, and keeps what it has.
  if (!fitsMessage({ spec: Buffer.byteLength(JSON.stringify(spec)), sealed })) {
    throw new FleetError('too_large', `'${host.name}' has more exports than one order can tell of`)
  }
  const decision = {
    ...{ request: { host: host.name }, spec, subject: null, interactive: false },
    host: { id: host.id, name: host.name },
    holds: [{ lane: laneOf.exports(host.name), exclusive: true }],
    ...(given.retryOf === undefined ? {} : { retryOf: given.retryOf }),
  }
  return { jobs: [{ id: newId(), decision }], reconciles: host.id }
}
