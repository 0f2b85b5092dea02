import { madeAvailable } from '../../core/datasets.ts'
import { route } from '../../http/route.ts'
import { mutate } from './mutation.ts'
import { etagOf, presentDataset } from './present.ts'
import { CreateDatasetBody, DatasetView } from './schemas.ts'

export const createDataset = route({
  operation: 'createDataset',
  method: 'POST',
  path: '/api/v1/datasets',
  summary: 'Create a dataset',
  access: 'operator',
  status: 201,
  body: CreateDatasetBody,
  result: DatasetView,
  errors: [503],

  async handle({ body, caller, signal }, core) {
    const accept = () => core.datasets.create(caller, body)
    const { order, result, headers } = await mutate({ code: 'CREATE_DATASET_FAILED', accept, signal }, core)
    const made = madeAvailable(order.dataset, result)
    return { status: 201, body: presentDataset(made), headers, etag: etagOf(made) }
  },
})
