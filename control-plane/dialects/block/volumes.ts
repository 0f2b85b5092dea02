import type { CreateBlockVolume } from '../../core/block-volumes.ts'
import type { Caller } from '../../core/caller.ts'
import type { Core } from '../../core/core.ts'
import { type HandlerRequest, route } from '../../http/route.ts'
import { linksOf, nextLink } from './links.ts'
import { ListQuery, listedFor, listOf } from './list-query.ts'
import { baseOf, type Place } from './place.ts'
import { etagOf, expecting, presentSummary, presentVolume } from './present.ts'
import {
  CreateVolumeBody,
  DeleteVolumeQuery,
  OneVolume,
  UpdateVolumeBody,
  VolumeList,
  VolumeSummaryList,
} from './schemas.ts'

type CreateBody = ReturnType<typeof CreateVolumeBody.parse>

/** What a request for a volume means. */
function wantedOf({ volume }: CreateBody): CreateBlockVolume {
  const { size, name, description, metadata, volume_type: pool } = volume
  const { snapshot_id: snapshotId, source_volid: sourceVolumeId, backup_id: backupId } = volume
  return {
    ...{ name, description, metadata: metadata ?? undefined, sizeGib: size ?? undefined, pool: pool || undefined },
    ...{ snapshotId: snapshotId || undefined, sourceVolumeId: sourceVolumeId || undefined },
    backupId: backupId || undefined,
  }
}

/** Its pool may be named by its id as well. @throws what core throws */
export async function createdVolume(core: Core, caller: Caller, body: CreateBody) {
  const { pool, ...wanted } = wantedOf(body)
  const named = pool === undefined ? undefined : (await core.hosts.pool(caller, pool)).name
  return core.blockVolumes.create(caller, { ...wanted, pool: named })
}

function listVolumes(place: Place) {
  return route({
    operation: `list${place.named}Volumes`,
    method: 'GET',
    path: place.base,
    summary: 'Volumes: ids and names',
    access: 'viewer',
    status: 200,
    params: place.collection,
    query: ListQuery,
    result: VolumeSummaryList,

    async handle(request, core) {
      const { query, caller, params } = request
      const { filter, page } = listOf(query)
      const { items, nextCursor, ...counted } = await core.blockVolumes.list(listedFor(caller, query), filter, page)
      const base = baseOf(place, params)
      const volumes = items.map((one) => presentSummary(one, linksOf(request, base, one.id)))
      return { status: 200, body: { volumes, ...moreOf(request, base, nextCursor), ...counted } }
    },
  })
}

function listVolumesDetailed(place: Place) {
  return route({
    operation: `list${place.named}VolumesDetailed`,
    method: 'GET',
    path: `${place.base}/detail`,
    summary: 'Volumes, newest first',
    access: 'viewer',
    status: 200,
    params: place.collection,
    query: ListQuery,
    result: VolumeList,

    async handle(request, core) {
      const { query, caller, params } = request
      const { filter, page } = listOf(query)
      const { items, nextCursor, ...counted } = await core.blockVolumes.list(listedFor(caller, query), filter, page)
      const base = baseOf(place, params)
      const volumes = items.map((one) => presentVolume(one, caller, linksOf(request, base, one.id)))
      return { status: 200, body: { volumes, ...moreOf(request, `${base}/detail`, nextCursor), ...counted } }
    },
  })
}

function moreOf(request: HandlerRequest, path: string, marker: string | null) {
  if (marker === null) return {}
  // as: every query of a list is an object
  const query = request.query as Readonly<Record<string, unknown>>
  return { volumes_links: nextLink(request, path, { query, marker }) }
}

function createVolume(place: Place) {
  return route({
    operation: `create${place.named}Volume`,
    method: 'POST',
    path: place.base,
    summary: 'Make a volume: empty, or of a snapshot, a volume or a backup',
    description:
      'Answers before it is there: it is `creating`, then `available` or `error`. Of a volume: answers when that is snapshotted.',
    access: 'operator',
    status: 202,
    params: place.collection,
    body: CreateVolumeBody,
    result: OneVolume,
    errors: [404, 503, 504],

    async handle(request, core) {
      const { body, caller, params } = request
      const { jobId, volume } = await createdVolume(core, caller, body)
      const links = linksOf(request, baseOf(place, params), volume.id)
      const headers = { 'X-Job-Id': jobId }
      return { status: 202, body: { volume: presentVolume(volume, caller, links) }, etag: etagOf(volume), headers }
    },
  })
}

function getVolume(place: Place) {
  return route({
    operation: `get${place.named}Volume`,
    method: 'GET',
    path: `${place.base}/:id`,
    summary: 'One volume',
    access: 'viewer',
    status: 200,
    params: place.item,
    result: OneVolume,
    errors: [404],

    async handle(request, core) {
      const { params, caller } = request
      const volume = await core.blockVolumes.get(caller, params.id)
      const links = linksOf(request, baseOf(place, params), volume.id)
      return { status: 200, body: { volume: presentVolume(volume, caller, links) }, etag: etagOf(volume) }
    },
  })
}

function updateVolume(place: Place) {
  return route({
    operation: `update${place.named}Volume`,
    method: 'PUT',
    path: `${place.base}/:id`,
    summary: 'Change what is said of a volume',
    access: 'operator',
    status: 200,
    params: place.item,
    body: UpdateVolumeBody,
    result: OneVolume,
    errors: [404, 412],
    precondition: 'own',

    async handle(request, core) {
      const { params, body, caller, ifMatch } = request
      const { metadata, ...words } = body.volume
      let volume = await core.blockVolumes.update(caller, params.id, given(words), expecting(ifMatch))
      if (metadata) volume = await core.blockVolumes.setMetadata(caller, params.id, metadata, true)
      const links = linksOf(request, baseOf(place, params), volume.id)
      return { status: 200, body: { volume: presentVolume(volume, caller, links) }, etag: etagOf(volume) }
    },
  })
}

/** Without members that were not sent: null takes a text away, absence does not. */
export function given<Words extends object>(words: Words) {
  const entries = Object.entries(words).filter(([, value]) => value !== undefined)
  // as: only members that are undefined are left out
  return Object.fromEntries(entries) as { readonly [Name in keyof Words]?: Exclude<Words[Name], undefined> }
}

function deleteVolume(place: Place) {
  return route({
    operation: `delete${place.named}Volume`,
    method: 'DELETE',
    path: `${place.base}/:id`,
    summary: 'Delete a volume',
    description:
      'Not while it is attached, or has snapshots, unless `cascade` takes these along. It is `deleting`, then not found.',
    access: 'operator',
    status: 202,
    params: place.item,
    query: DeleteVolumeQuery,
    errors: [404, 409, 412, 503, 504],
    precondition: 'own',

    async handle({ params, query, caller, ifMatch }, core) {
      await core.blockVolumes.delete(caller, params.id, query.cascade ?? false, expecting(ifMatch))
      return { status: 202 }
    },
  })
}

export const VOLUME_ROUTES = { listVolumes, listVolumesDetailed, createVolume, getVolume, updateVolume, deleteVolume }
