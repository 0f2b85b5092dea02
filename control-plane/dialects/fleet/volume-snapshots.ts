import { FleetError } from '../../../shared/errors.ts'
import { route } from '../../http/route.ts'
import { etagOfVolume, presentVolume, presentVolumeSnapshot, volumePath } from './present-volumes.ts'
import { PageQuery } from './schemas.ts'
import { settled } from './settled.ts'
import {
  CloneVolumeBody,
  RollbackAccepted,
  RollbackVolumeBody,
  SnapshotVolumeBody,
  VolumeParams,
  VolumeSnapshotPage,
  VolumeSnapshotParams,
  VolumeSnapshotView,
  VolumeView,
} from './volume-schemas.ts'
import { inClientWords } from './wire-names.ts'

const SNAPSHOTS = '/api/v1/volumes/:volume/snapshots'

export const snapshotVolume = route({
  operation: 'snapshotVolume',
  method: 'POST',
  path: SNAPSHOTS,
  summary: 'Take a snapshot of a volume',
  access: 'operator',
  status: 201,
  params: VolumeParams,
  body: SnapshotVolumeBody,
  result: VolumeSnapshotView,
  errors: [404, 409, 503, 504, 507],

  async handle({ params, body, caller, signal }, core) {
    const { jobId, snapshot } = await core.volumes.snapshot(
      caller,
      await volumePath(core, caller, params.volume),
      body.name,
    )
    await settled(core, jobId, signal)
    const made = { ...snapshot, state: 'available' as const }
    return { status: 201, body: presentVolumeSnapshot(made), headers: { 'X-Job-Id': jobId } }
  },
})

export const listVolumeSnapshots = route({
  operation: 'listVolumeSnapshots',
  method: 'GET',
  path: SNAPSHOTS,
  summary: 'Snapshots of a volume',
  access: 'viewer',
  status: 200,
  params: VolumeParams,
  query: PageQuery,
  result: VolumeSnapshotPage,
  errors: [404],

  async handle({ params, query, caller }, core) {
    const { items, nextCursor } = await core.volumes.snapshots(caller, params.volume, query)
    return { status: 200, body: { items: items.map(presentVolumeSnapshot), next_cursor: nextCursor } }
  },
})

export const deleteVolumeSnapshot = route({
  operation: 'deleteVolumeSnapshot',
  method: 'DELETE',
  path: `${SNAPSHOTS}/:name`,
  summary: 'Delete a snapshot of a volume',
  description: '409 with `blockers` while clones rest on it.',
  access: 'operator',
  status: 204,
  params: VolumeSnapshotParams,
  errors: [404, 409, 503, 504],

  async handle({ params, caller, signal }, core) {
    const path = await volumePath(core, caller, params.volume)
    const { jobId } = await core.volumes.deleteSnapshot(caller, path, params.name)
    await settled(core, jobId, signal)
    return { status: 204, headers: { 'X-Job-Id': jobId } }
  },
})

/** `<pool>/<name>@<snapshot>`. @throws invalid unless exactly one of both names the snapshot. */
function snapshotPath(path: string, snapshot: string | undefined): string {
  if (path.includes('@') === (snapshot === undefined)) return snapshot === undefined ? path : `${path}@${snapshot}`
  const message = snapshot === undefined ? 'is required' : 'the path names a snapshot already'
  throw new FleetError('invalid', `snapshot: ${message}`, { field: 'snapshot' })
}

export const cloneVolume = route({
  operation: 'cloneVolume',
  method: 'POST',
  path: '/api/v1/volumes/:volume/clone',
  summary: 'Make a volume of a snapshot, sharing its blocks',
  description:
    'The snapshot may be one that nobody made through the fleet, for those with a role over it. It answers when the clone is there.',
  access: 'operator',
  status: 201,
  params: VolumeParams,
  body: CloneVolumeBody,
  result: VolumeView,
  errors: [404, 409, 503, 504, 507],

  async handle({ params, body, caller, signal }, core) {
    const { name, snapshot, create_parent: createParent } = body
    const source = snapshotPath(await volumePath(core, caller, params.volume), snapshot)
    const { jobId, volume } = await inClientWords(core.volumes.clone(caller, { source, name, createParent }))
    await settled(core, jobId, signal)
    const made = await core.volumes.get(caller, volume.id)
    const headers = { 'X-Job-Id': jobId }
    return { status: 201, body: presentVolume(made, caller), etag: etagOfVolume(made), headers }
  },
})

export const rollbackVolume = route({
  operation: 'rollbackVolume',
  method: 'POST',
  path: '/api/v1/volumes/:volume/rollback',
  summary: 'Make a volume what it was at one of its snapshots',
  description:
    'In one step, or not at all. Newer snapshots stay. 409 with `blockers`, its exports, while somebody is logged in to one of them.',
  access: 'operator',
  status: 202,
  params: VolumeParams,
  body: RollbackVolumeBody,
  result: RollbackAccepted,
  errors: [404, 409, 503],

  async handle({ params, body, caller }, core) {
    const path = await volumePath(core, caller, params.volume)
    const { jobId, safety } = await core.volumes.rollback(caller, path, body.snapshot)
    return {
      status: 202,
      body: { job_id: jobId, safety: presentVolumeSnapshot(safety) },
      headers: { 'X-Job-Id': jobId },
    }
  },
})
