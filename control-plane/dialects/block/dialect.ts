import { COMMON_STATUSES, type Dialect, type Failure, type FailureCode, type Route } from '../../http/route.ts'
import { ATTACHMENT_ROUTES, AttachmentView } from './attachments.ts'
import { getLimits, getType, listExtensions, listPools, listResourceFilters, listTypes, listZones } from './catalog.ts'
import { metadataRoutes } from './metadata.ts'
import { underProject } from './place.ts'
import { getQuotas } from './quotas.ts'
import { FAULTS, FaultBody, OTHER_FAULT, SnapshotView, VolumeView } from './schemas.ts'
import { SNAPSHOT_ROUTES } from './snapshots.ts'
import { getVersion, listVersions, versioned } from './versions.ts'
import { actOnVolume } from './volume-actions.ts'
import { getSummary } from './volume-summary.ts'
import { VOLUME_ROUTES } from './volumes.ts'

/** What a volume's state forbids is a bad request there. */
const STATUSES: Readonly<Record<FailureCode, number>> = { ...COMMON_STATUSES, conflict: 400, exists: 400 }

export function becauseOf({ message, blockers }: Pick<Failure, 'message' | 'blockers'>): string {
  const unnamed = blockers?.filter((blocker) => !message.includes(blocker)) ?? []
  return unnamed.length === 0 ? message : `${message} (blocked by ${unnamed.join(', ')})`
}

function errorBody(failure: Failure) {
  const status = STATUSES[failure.code]
  const names: Readonly<Record<number, string>> = FAULTS
  return { [names[status] ?? OTHER_FAULT]: { code: status, message: becauseOf(failure) } }
}

const volumes = underProject('volumes')
const snapshots = underProject('snapshots')

const ROUTES: readonly Route[] = [
  getSummary,
  ...Object.values(VOLUME_ROUTES).map((routeAt) => routeAt(volumes)),
  actOnVolume,
  ...metadataRoutes('Volume'),
  ...Object.values(SNAPSHOT_ROUTES).map((routeAt) => routeAt(snapshots)),
  ...metadataRoutes('Snapshot'),
  ...ATTACHMENT_ROUTES,
  ...[listTypes, getType, listPools, listZones, getLimits, getQuotas, listExtensions, listResourceFilters],
]

export const block: Dialect = {
  name: 'block',
  title: 'Block storage',
  version: '3.65',
  description: "Volumes and their snapshots on the fleet's pools, in the words of OpenStack's Block Storage API v3.",
  owns: ['/v3'],
  statuses: STATUSES,
  errorBody,
  errorSchema: FaultBody,
  schemas: { Volume: VolumeView, Snapshot: SnapshotView, Attachment: AttachmentView, Fault: FaultBody },
  routes: [listVersions, getVersion, ...ROUTES.map(versioned)],
}
