import { madeAvailable } from '../../core/datasets.ts'
import { route } from '../../http/route.ts'
import { noDataset } from './messages.ts'
import { mutate, whenAbsent } from './mutation.ts'
import { etagOf, presentDataset } from './present.ts'
import { CloneBody, DatasetView } from './schemas.ts'

export const clone = route({
  operation: 'clone',
  method: 'POST',
  path: '/api/v1/clone',
  summary: 'A writable dataset from a dataset or snapshot',
  access: 'operator',
  status: 201,
  body: CloneBody,
  result: DatasetView,
  errors: [503],

  async handle({ body: { source, destination, tags }, caller, signal }, core) {
    const accept = () => core.datasets.clone(caller, { source, name: destination, tags })
    const explain = whenAbsent(noDataset(source))
    const { order, result, headers } = await mutate({ code: 'CLONE_FAILED', accept, signal, explain }, core)
    const made = madeAvailable(order.dataset, result)
    return { status: 201, body: presentDataset(made), headers, etag: etagOf(made) }
  },
})
