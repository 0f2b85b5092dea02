import { route } from '../../http/route.ts'
import { noDataset } from './messages.ts'
import { mutate, whenAbsent } from './mutation.ts'
import { expecting } from './present.ts'
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
  precondition: 'own',

  async handle({ params: { name }, caller, signal, ifMatch }, core) {
    const accept = () => core.datasets.delete(caller, { name, ifMatch: expecting(ifMatch) })
    const explain = whenAbsent(noDataset(name))
    const { headers } = await mutate({ code: 'DELETE_DATASET_FAILED', accept, signal, explain }, core)
    return { status: 204, headers }
  },
})
