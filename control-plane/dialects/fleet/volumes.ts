import { route } from '../../http/route.ts'
import { etagOfVolume, expectingVolume, presentVolume, volumePath } from './present-volumes.ts'
import { PageQuery } from './schemas.ts'
import { settled } from './settled.ts'
import {
  CreateVolumeBody,
  PoolParams,
  ResizeVolumeBody,
  StandingVolumePage,
  VolumePage,
  VolumeParams,
  VolumeQuery,
  VolumeView,
} from './volume-schemas.ts'
import { inClientWords } from './wire-names.ts'

/** Of orders that are answered when they are done. */
const WAITED = 'It answers when that is done, after 30 s with 504 while the job goes on.'

export const createVolume = route({
  operation: 'createVolume',
  method: 'POST',
  path: '/api/v1/volumes',
  summary: 'Make a block device: a zvol, or a raw image that shares blocks',
  description: WAITED,
  access: 'operator',
  status: 201,
  body: CreateVolumeBody,
  result: VolumeView,
  errors: [404, 409, 503, 504, 507],

  async handle({ body, caller, signal }, core) {
    const { size_bytes: sizeBytes, create_parent: createParent, ...rest } = body
    const { jobId, volume } = await inClientWords(core.volumes.create(caller, { ...rest, sizeBytes, createParent }))
    await settled(core, jobId, signal)
    const made = await core.volumes.get(caller, volume.id)
    const headers = { 'X-Job-Id': jobId }
    return { status: 201, body: presentVolume(made, caller), etag: etagOfVolume(made), headers }
  },
})

export const listVolumes = route({
  operation: 'listVolumes',
  method: 'GET',
  path: '/api/v1/volumes',
  summary: 'Volumes that match every filter given, by path',
  access: 'viewer',
  status: 200,
  query: VolumeQuery,
  result: VolumePage,

  async handle({ query, caller }, core) {
    const { limit, cursor, ...filter } = query
    const { items, nextCursor } = await core.volumes.list(caller, filter, { limit, cursor })
    return { status: 200, body: { items: items.map((one) => presentVolume(one, caller)), next_cursor: nextCursor } }
  },
})

export const getVolume = route({
  operation: 'getVolume',
  method: 'GET',
  path: '/api/v1/volumes/:volume',
  summary: 'One volume',
  access: 'viewer',
  status: 200,
  params: VolumeParams,
  result: VolumeView,
  errors: [404],

  async handle({ params, caller }, core) {
    const volume = await core.volumes.get(caller, params.volume)
    return { status: 200, body: presentVolume(volume, caller), etag: etagOfVolume(volume) }
  },
})

export const resizeVolume = route({
  operation: 'resizeVolume',
  method: 'PATCH',
  path: '/api/v1/volumes/:volume',
  summary: 'Make a volume larger',
  description: `A smaller size is 409. ${WAITED}`,
  access: 'operator',
  status: 200,
  params: VolumeParams,
  body: ResizeVolumeBody,
  result: VolumeView,
  errors: [404, 409, 412, 503, 504, 507],
  precondition: 'own',

  async handle({ params, body, caller, ifMatch, signal }, core) {
    const path = await volumePath(core, caller, params.volume)
    const { jobId } = await inClientWords(core.volumes.resize(caller, path, body.size_bytes, expectingVolume(ifMatch)))
    await settled(core, jobId, signal)
    const volume = await core.volumes.get(caller, path)
    const headers = { 'X-Job-Id': jobId }
    return { status: 200, body: presentVolume(volume, caller), etag: etagOfVolume(volume), headers }
  },
})

export const deleteVolume = route({
  operation: 'deleteVolume',
  method: 'DELETE',
  path: '/api/v1/volumes/:volume',
  summary: 'Delete a volume',
  description: `Never more than it: 409 with \`blockers\` while it is exported, has snapshots, or clones rest on it. ${WAITED}`,
  access: 'operator',
  status: 204,
  params: VolumeParams,
  errors: [404, 409, 412, 503, 504],
  precondition: 'own',

  async handle({ params, caller, ifMatch, signal }, core) {
    const path = await volumePath(core, caller, params.volume)
    const { jobId } = await core.volumes.delete(caller, path, expectingVolume(ifMatch))
    await settled(core, jobId, signal)
    return { status: 204, headers: { 'X-Job-Id': jobId } }
  },
})

export const listPoolVolumes = route({
  operation: 'listPoolVolumes',
  method: 'GET',
  path: '/api/v1/pools/:pool/volumes',
  summary: 'What stands in a pool now, whoever made it',
  description: 'Its host is asked. For those with a role over the fleet.',
  access: 'viewer',
  status: 200,
  params: PoolParams,
  query: PageQuery,
  result: StandingVolumePage,
  errors: [404, 503],

  async handle({ params, query, caller }, core) {
    const { items, nextCursor } = await core.volumes.standing(caller, params.pool, query)
    const shown = items.map(({ path, sizeBytes, snapshots, origin }) => ({
      ...{ path, size_bytes: sizeBytes, snapshots: [...snapshots], origin },
    }))
    return { status: 200, body: { items: shown, next_cursor: nextCursor } }
  },
})
