import type { PointFile } from '../../../shared/wire/reads.ts'
import { atLeast, type Caller } from '../../core/caller.ts'
import type { PointCondition, PointDifference, PointInfo } from '../../core/points.ts'
import type { DifferenceView, FileView, PointView } from './point-schemas.ts'
import { time } from './present.ts'

export function etagOfPoint({ id, version }: Pick<PointInfo, 'id' | 'version'>): string {
  return `"${id}.${version}"`
}

export function expectingPoint(ifMatch: ((etag: string) => boolean) | undefined): PointCondition | undefined {
  return ifMatch && ((current) => ifMatch(etagOfPoint(current)))
}

/** Paths of hosts are for those who look after hosts. */
function locationFor(caller: Caller, { host, location }: PointInfo): PointView['location'] {
  return location === null || !atLeast(caller.fleetRole, 'admin') ? null : { host, path: location }
}

function presentSource({ source, host }: PointInfo): PointView['source'] {
  if (source.kind === 'dataset') return { dataset: source.name, dataset_id: source.id }
  if (source.kind === 'path') return { host, path: source.path }
  if (source.kind === 'volume') return { volume: source.name, volume_id: source.id, snapshot: source.snapshot }
  return { instance: source.name, instance_id: source.id, type: source.type }
}

export function presentPoint(point: PointInfo, caller: Caller): PointView {
  const { damage, target } = point
  return {
    id: point.id,
    group_id: point.groupId,
    source: presentSource(point),
    host: point.host,
    target: target && { id: target.id, name: target.name },
    series: point.series,
    name: point.name,
    status: point.status,
    deleting: point.isDeleting,
    trashed_at: time(point.trashedAt),
    returning: point.isReturning,
    pinned: point.pinned,
    chain: [...point.chain],
    full_reason: point.fullReason,
    synthetic: point.synthetic,
    size_bytes: point.storedBytes,
    source_bytes: point.sourceBytes,
    members: point.members,
    consistency: point.consistency,
    encrypted: point.encrypted,
    problem_count: point.problemCount,
    problems: [...point.problems],
    error: point.error && { code: point.error.code, message: point.error.message },
    damage: damage && { at: damage.at.toISOString(), members: [...damage.members] },
    verified_at: time(point.verifiedAt),
    rehearsed_at: time(point.rehearsedAt),
    recovery_seconds: point.recoverySeconds,
    location: locationFor(caller, point),
    job_id: point.jobId,
    created_at: point.createdAt.toISOString(),
    finished_at: time(point.finishedAt),
  }
}

export function presentFile({ pathBase64, size, ...file }: PointFile): FileView {
  return { ...file, size_bytes: size, ...(pathBase64 === undefined ? {} : { path_base64: pathBase64 }) }
}

export function presentDifference({ kind, before, after }: PointDifference): DifferenceView {
  return { kind, before: before && presentFile(before), after: after && presentFile(after) }
}
