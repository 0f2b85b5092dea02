import { type HandlerRequest, route } from '../../http/route.ts'
import { nextLink } from './links.ts'
import { ListQuery, listedFor, listOf } from './list-query.ts'
import { baseOf, type Place } from './place.ts'
import { etagOf, expecting, presentSnapshot } from './present.ts'
import { CreateSnapshotBody, OneSnapshot, SnapshotList, UpdateSnapshotBody } from './schemas.ts'
import { given } from './volumes.ts'

/** Both lists tell the same: the details of a snapshot are few. */
function listAt(place: Place, rest: '' | '/detail') {
  return route({
    operation: `list${place.named}Snapshots${rest === '' ? '' : 'Detailed'}`,
    method: 'GET',
    path: `${place.base}${rest}`,
    summary: 'Snapshots of volumes, newest first',
    access: 'viewer',
    status: 200,
    params: place.collection,
    query: ListQuery,
    result: SnapshotList,

    async handle(request, core) {
      const { query, caller, params } = request
      const { filter, page } = listOf(query)
      const { items, nextCursor, ...counted } = await core.blockSnapshots.list(listedFor(caller, query), filter, page)
      const more = moreOf(request, `${baseOf(place, params)}${rest}`, nextCursor)
      return { status: 200, body: { snapshots: items.map(presentSnapshot), ...more, ...counted } }
    },
  })
}
const listSnapshots = (place: Place) => listAt(place, '')
const listSnapshotsDetailed = (place: Place) => listAt(place, '/detail')

function moreOf(request: HandlerRequest, path: string, marker: string | null) {
  if (marker === null) return {}
  // as: every query of a list is an object
  const query = request.query as Readonly<Record<string, unknown>>
  return { snapshots_links: nextLink(request, path, { query, marker }) }
}

function createSnapshot(place: Place) {
  return route({
    operation: `create${place.named}Snapshot`,
    method: 'POST',
    path: place.base,
    summary: 'Snapshot a volume',
    description: 'Answers before it is there: it is `creating`, then `available` or `error`.',
    access: 'operator',
    status: 202,
    params: place.collection,
    body: CreateSnapshotBody,
    result: OneSnapshot,
    errors: [404, 409, 503],

    async handle({ body, caller }, core) {
      const { volume_id: volumeId, name, description, metadata, force } = body.snapshot
      const { jobId, snapshot } = await core.blockSnapshots.create(caller, {
        ...{ volumeId, name, description, metadata: metadata ?? undefined, force: force ?? undefined },
      })
      const headers = { 'X-Job-Id': jobId }
      return { status: 202, body: { snapshot: presentSnapshot(snapshot) }, etag: etagOf(snapshot), headers }
    },
  })
}

function getSnapshot(place: Place) {
  return route({
    operation: `get${place.named}Snapshot`,
    method: 'GET',
    path: `${place.base}/:id`,
    summary: 'One snapshot of a volume',
    access: 'viewer',
    status: 200,
    params: place.item,
    result: OneSnapshot,
    errors: [404],

    async handle({ params, caller }, core) {
      const snapshot = await core.blockSnapshots.get(caller, params.id)
      return { status: 200, body: { snapshot: presentSnapshot(snapshot) }, etag: etagOf(snapshot) }
    },
  })
}

function updateSnapshot(place: Place) {
  return route({
    operation: `update${place.named}Snapshot`,
    method: 'PUT',
    path: `${place.base}/:id`,
    summary: 'Change what is said of a snapshot',
    access: 'operator',
    status: 200,
    params: place.item,
    body: UpdateSnapshotBody,
    result: OneSnapshot,
    errors: [404, 412],
    precondition: 'own',

    async handle({ params, body, caller, ifMatch }, core) {
      const { metadata, ...words } = body.snapshot
      let snapshot = await core.blockSnapshots.update(caller, params.id, given(words), expecting(ifMatch))
      if (metadata) snapshot = await core.blockSnapshots.setMetadata(caller, params.id, metadata, true)
      return { status: 200, body: { snapshot: presentSnapshot(snapshot) }, etag: etagOf(snapshot) }
    },
  })
}

function deleteSnapshot(place: Place) {
  return route({
    operation: `delete${place.named}Snapshot`,
    method: 'DELETE',
    path: `${place.base}/:id`,
    summary: 'Delete a snapshot',
    description: 'Not while volumes rest on it. It is `deleting`, then not found.',
    access: 'operator',
    status: 202,
    params: place.item,
    errors: [404, 409, 412, 503],
    precondition: 'own',

    async handle({ params, caller, ifMatch }, core) {
      await core.blockSnapshots.delete(caller, params.id, expecting(ifMatch))
      return { status: 202 }
    },
  })
}

export const SNAPSHOT_ROUTES = {
  ...{ listSnapshots, listSnapshotsDetailed, createSnapshot, getSnapshot, updateSnapshot, deleteSnapshot },
}
