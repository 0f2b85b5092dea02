import { madeAvailable } from '../../core/datasets.ts'
import { route, WireError } from '../../http/route.ts'
import { noSnapshotSource, sourceIsPath } from './messages.ts'
import { mutate, whenAbsent } from './mutation.ts'
import { etagOf, presentSnapshot } from './present.ts'
import { CreateSnapshotBody, SnapshotView } from './schemas.ts'

export const createSnapshot = route({
  operation: 'createSnapshot',
  method: 'POST',
  path: '/api/v1/snapshots',
  summary: 'Snapshot a whole dataset',
  access: 'operator',
  status: 201,
  body: CreateSnapshotBody,
  result: SnapshotView,
  errors: [503],

  async handle({ body, caller, signal }, core) {
    if (body.source.startsWith('/')) {
      throw new WireError(400, { error: 'INVALID_SOURCE', message: sourceIsPath(body.source) })
    }
    const accept = () => core.snapshots.create(caller, body)
    const explain = whenAbsent(noSnapshotSource(body.source))
    const { order, result, headers } = await mutate({ code: 'CREATE_SNAPSHOT_FAILED', accept, signal, explain }, core)
    const made = madeAvailable(order.dataset, result)
    return { status: 201, body: presentSnapshot(made), headers, etag: etagOf(made) }
  },
})
