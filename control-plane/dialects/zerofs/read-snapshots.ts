import { FleetError } from '../../../shared/errors.ts'
import { route, WireError } from '../../http/route.ts'
import { noSnapshot, notASnapshot } from './messages.ts'
import { etagOf, presentSnapshot } from './present.ts'
import { NameParam, SnapshotList, SnapshotView } from './schemas.ts'

export const listSnapshots = route({
  operation: 'listSnapshots',
  method: 'GET',
  path: '/api/v1/snapshots',
  summary: 'All snapshots, by id',
  access: 'viewer',
  status: 200,
  result: SnapshotList,

  async handle({ caller }, core) {
    const snapshots = await core.datasets.list(caller, { snapshots: true })
    return { status: 200, body: { snapshots: snapshots.map(presentSnapshot) } }
  },
})

export const getSnapshot = route({
  operation: 'getSnapshot',
  method: 'GET',
  path: '/api/v1/snapshots/:name',
  summary: 'One snapshot',
  description: '400 when the name is a dataset that is not a snapshot.',
  access: 'viewer',
  status: 200,
  params: NameParam,
  result: SnapshotView,
  errors: [400, 404],

  async handle({ params: { name }, caller }, core) {
    try {
      const dataset = await core.datasets.get(caller, name)
      if (dataset.isSnapshot) return { status: 200, body: presentSnapshot(dataset), etag: etagOf(dataset) }
    } catch (thrown) {
      if (!(thrown instanceof FleetError) || thrown.code !== 'not_found') throw thrown
      throw new WireError(404, { error: 'SNAPSHOT_NOT_FOUND', message: noSnapshot(name) })
    }
    throw new WireError(400, { error: 'NOT_A_SNAPSHOT', message: notASnapshot(name) })
  },
})
