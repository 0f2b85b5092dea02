import { FleetError } from '../../../shared/errors.ts'
import { route, WireError } from '../../http/route.ts'
import { noDataset } from './messages.ts'
import { etagOf, presentDataset } from './present.ts'
import { DatasetList, DatasetView, NameParam } from './schemas.ts'

export const listDatasets = route({
  operation: 'listDatasets',
  method: 'GET',
  path: '/api/v1/datasets',
  summary: 'All datasets, snapshots included, by id',
  access: 'viewer',
  status: 200,
  result: DatasetList,

  async handle({ caller }, core) {
    const datasets = await core.datasets.list(caller)
    return { status: 200, body: { datasets: datasets.map(presentDataset) } }
  },
})

export const getDataset = route({
  operation: 'getDataset',
  method: 'GET',
  path: '/api/v1/datasets/:name',
  summary: 'One dataset or snapshot',
  access: 'viewer',
  status: 200,
  params: NameParam,
  result: DatasetView,
  errors: [404],

  async handle({ params, caller }, core) {
    try {
      const dataset = await core.datasets.get(caller, params.name)
      return { status: 200, body: presentDataset(dataset), etag: etagOf(dataset) }
    } catch (thrown) {
      if (!(thrown instanceof FleetError) || thrown.code !== 'not_found') throw thrown
      throw new WireError(404, { error: 'DATASET_NOT_FOUND', message: noDataset(params.name) })
    }
  },
})
