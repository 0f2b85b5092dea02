import { route } from '../../http/route.ts'
import { BatchParams, CreateBatchBody, ExportBatchView } from './export-schemas.ts'
import { inElementWords, presentBatch, wantedOf } from './present-exports.ts'

export const createExportBatch = route({
  operation: 'createExportBatch',
  method: 'POST',
  path: '/api/v1/export-batches',
  summary: 'Make or remove many exports at once, on whatever hosts they are',
  description:
    'One that fails fails alone: `errors` says which and why. Removing what is absent succeeds. `X-Job-Id` names all its jobs, one a host.',
  access: 'operator',
  status: 202,
  body: CreateBatchBody,
  result: ExportBatchView,

  async handle({ body, caller }, core) {
    const { batchId, jobIds } =
      body.create === undefined
        ? await inElementWords(core.exports.remove(caller, (body.delete ?? []).map(removalOf)), 'delete')
        : await inElementWords(core.exports.create(caller, body.create.map(wantedOf)), 'create')
    const batch = await core.exports.batch(caller, batchId)
    const headers = jobIds.length === 0 ? {} : { headers: { 'X-Job-Id': jobIds.join(', ') } }
    return { status: 202, body: presentBatch(batch), ...headers }
  },
})

type Removal = NonNullable<CreateBatchBody['delete']>[number]

function removalOf({ delete_volume: deleteVolume, ...rest }: Removal) {
  return { ...rest, deleteVolume }
}

export const getExportBatch = route({
  operation: 'getExportBatch',
  method: 'GET',
  path: '/api/v1/export-batches/:id',
  summary: 'How far a batch of exports is',
  access: 'viewer',
  status: 200,
  params: BatchParams,
  result: ExportBatchView,
  errors: [404],

  async handle({ params, caller }, core) {
    return { status: 200, body: presentBatch(await core.exports.batch(caller, params.id)) }
  },
})
