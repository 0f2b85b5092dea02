import { type Route, route } from '../../http/route.ts'
import {
  CreateInstanceSnapshotBody,
  InstanceQuery,
  InstanceSnapshotList,
  OneInstanceSnapshot,
} from './instance-schemas.ts'
import { etagOfInstanceSnapshot, expectingInstanceSnapshot, presentInstanceSnapshot } from './present-instances.ts'
import { IdParams, SnapshotMade } from './schemas.ts'
import { wholeList } from './whole-list.ts'
import { inSnapshotWords } from './wire-words.ts'

/**
 * Snapshots of instances below one path: the service's own, and the gateway's that leads there.
 * @param base `/v1/instance/snapshot` @param noun in the operations' names: `InstanceSnapshot`
 */
export function createInstanceSnapshotRoutes(base: string, noun: string): readonly Route[] {
  return [
    route({
      operation: `list${noun}s`,
      method: 'GET',
      path: base,
      summary: 'List instance snapshots, newest first',
      description: 'Of the group that is acted for; all of them, unless a `limit` is asked for.',
      access: 'viewer',
      status: 200,
      query: InstanceQuery,
      result: InstanceSnapshotList,
      errors: [413],

      async handle({ query, caller }, core) {
        const filter = { instanceId: query.instance_id }
        const { items, next } = await wholeList(query, (page) => core.instanceSnapshots.list(caller, filter, page))
        return { status: 200, body: { snapshots: items.map(presentInstanceSnapshot), ...next } }
      },
    }),

    route({
      operation: `get${noun}`,
      method: 'GET',
      path: `${base}/:id`,
      summary: 'Get an instance snapshot, with its parts',
      access: 'viewer',
      status: 200,
      params: IdParams,
      result: OneInstanceSnapshot,
      errors: [404],

      async handle({ params, caller }, core) {
        const found = await core.instanceSnapshots.get(caller, params.id)
        return { status: 200, body: { snapshot: presentInstanceSnapshot(found) }, etag: etagOfInstanceSnapshot(found) }
      },
    }),

    route({
      operation: `create${noun}`,
      method: 'POST',
      path: base,
      summary: 'Take a snapshot of an instance: of its root and of every volume that is attached to it',
      description:
        'One that runs is frozen until all are taken. Answers when that is ordered. 409 for an instance that is none of ACTIVE, SHUTOFF, ' +
        'SUSPENDED and PAUSED.',
      access: 'operator',
      status: 201,
      body: CreateInstanceSnapshotBody,
      result: SnapshotMade,
      errors: [404, 409, 503],

      async handle({ body, caller }, core) {
        const { name, instance_id: instance } = body.snapshot
        const { id } = await inSnapshotWords(core.instanceSnapshots.create(caller, { name, instance }))
        return { status: 201, body: { snapshot: { id } } }
      },
    }),

    route({
      operation: `delete${noun}`,
      method: 'DELETE',
      path: `${base}/:id`,
      summary: 'Delete an instance snapshot, with its parts',
      description:
        'Its `status` is `deleting` until they are gone; then it is not found. 409 while something rests on one.',
      access: 'operator',
      status: 201,
      params: IdParams,
      result: SnapshotMade,
      errors: [404, 409, 412],
      precondition: 'own',

      async handle({ params, caller, ifMatch }, core) {
        await core.instanceSnapshots.delete(caller, params.id, expectingInstanceSnapshot(ifMatch))
        return { status: 201, body: { snapshot: { id: params.id } } }
      },
    }),
  ]
}
