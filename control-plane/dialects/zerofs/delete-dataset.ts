import { route } from '../../http/route.ts'
import { noDataset } from './messages.ts'
import { mutate, whenAbsent } from './mutation.ts'
import { NameParam } from './schemas.ts'

export const deleteDataset = route({
  operation: 'deleteDataset',
  method: 'DELETE',
  path: '/api/v1/datasets/:name',
  summary: 'Delete a dataset or snapshot',
  access: 'operator',
  status: 204,
  params: NameParam,
  errors: [412, 503],

  async handle({ params, caller, signal }, core) {
    const accept = () => core.datasets.delete(caller, params.name)
    const explain = whenAbsent(noDataset(params.name))
    const { headers } = await mutate({ code: 'DELETE_DATASET_FAILED', accept, signal, explain }, core)
    return { status: 204, headers }
  },
})
