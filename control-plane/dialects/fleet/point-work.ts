import { FleetError } from '../../../shared/errors.ts'
import type { Caller } from '../../core/caller.ts'
import type { Core } from '../../core/core.ts'
import type { RestorePoint } from '../../core/points.ts'
import { route } from '../../http/route.ts'
import {
  DifferencePage,
  DiffQuery,
  FilePage,
  FilesQuery,
  JobAccepted,
  PointId,
  PointPair,
  RestoreBody,
} from './point-schemas.ts'
import { presentDifference, presentFile } from './present-points.ts'
import { volumePath } from './present-volumes.ts'
import { below, inClientWords, spelled } from './wire-names.ts'

export const listFiles = route({
  operation: 'listPointFiles',
  method: 'GET',
  path: '/api/v1/points/:id/files',
  summary: 'What is in a point, without restoring it',
  access: 'viewer',
  status: 200,
  params: PointId,
  query: FilesQuery,
  result: FilePage,
  errors: [404, 409, 503, 504],

  async handle({ params, query, caller }, core) {
    const { path, path_base64: base64, ...rest } = query
    if (path !== undefined && base64 !== undefined)
      throw new FleetError('invalid', "path_base64: does not go with 'path'", { field: 'path_base64' })
    const asked = base64 === undefined ? (path ?? '') : { base64 }
    const { items, nextCursor } = await core.points.files(caller, params.id, { path: asked, ...rest })
    return { status: 200, body: { items: items.map(presentFile), next_cursor: nextCursor } }
  },
})

export const diffPoints = route({
  operation: 'diffPoints',
  method: 'GET',
  path: '/api/v1/points/:id/diff/:other',
  summary: 'What changed from one point to another',
  access: 'viewer',
  status: 200,
  params: PointPair,
  query: DiffQuery,
  result: DifferencePage,
  errors: [404, 409, 503, 504],

  async handle({ params, query, caller }, core) {
    const { items, nextCursor } = await core.points.diff(caller, params.id, params.other, query)
    return { status: 200, body: { items: items.map(presentDifference), next_cursor: nextCursor } }
  },
})

function reading(
  operation: 'verify' | 'rehearse',
  { summary, description }: Record<'summary' | 'description', string>,
) {
  return route({
    operation: `${operation}Point`,
    method: 'POST',
    path: `/api/v1/points/:id/${operation}`,
    summary,
    description,
    access: 'operator',
    status: 202,
    params: PointId,
    result: JobAccepted,
    errors: [404, 409, 503],

    async handle({ params, caller }, core) {
      const { jobId } = await core.points[operation](caller, params.id)
      return { status: 202, body: { job_id: jobId }, headers: { 'X-Job-Id': jobId } }
    },
  })
}

export const verifyPoint = reading('verify', {
  summary: 'Read a point and its bases again and compare hashes',
  description: 'Damage makes the job fail with `corrupt`, its `members` the files that are damaged.',
})

export const rehearsePoint = reading('rehearse', {
  summary: 'Restore a point for a moment and measure how long that takes',
  description: 'It is restored beside everything else, compared with its index and taken away again.',
})

function destinationOf(body: RestoreBody['destination']): RestorePoint['destination'] {
  const { dataset, path = '', new_dataset: newDataset, instance, type, start, replace, host, pool } = body
  if (dataset !== undefined) return { dataset, path }
  if (newDataset !== undefined) return { newDataset, host, pool }
  if (instance !== undefined) return { instance, type, host, pool, start, replace }
  // A volume is restored elsewhere, and the schema lets nothing else through.
  return { host: host ?? '', path }
}

async function restore(core: Core, caller: Caller, id: string, body: RestoreBody): Promise<{ readonly jobId: string }> {
  const { overwrite, destination } = body
  const paths = [...(body.paths ?? []), ...(body.paths_base64 ?? []).map((base64) => ({ base64 }))]
  const told = body.paths?.length || paths.length === 0 ? 'paths' : 'paths_base64'
  const { volume, size_bytes: sizeBytes, create_parent: createParent } = destination
  if (volume === undefined)
    return spelled(
      'paths',
      told,
      core.points.restore(caller, id, { paths, overwrite, destination: destinationOf(destination) }),
    )
  if (paths.length > 0) {
    throw new FleetError('invalid', `${told}: only a whole point becomes a volume`, { field: told })
  }
  const path = await volumePath(core, caller, volume)
  return below(
    'destination',
    core.volumes.restore(caller, { point: id, volume: path, sizeBytes, createParent, overwrite }),
  )
}

export const restorePoint = route({
  operation: 'restorePoint',
  method: 'POST',
  path: '/api/v1/points/:id/restore',
  summary: 'Restore a point, or some of its files',
  description: 'A point of a volume becomes a volume, and nothing else does.',
  access: 'operator',
  status: 202,
  params: PointId,
  body: RestoreBody,
  result: JobAccepted,
  errors: [404, 409, 503],

  async handle({ params, body, caller }, core) {
    const { jobId } = await inClientWords(restore(core, caller, params.id, body))
    return { status: 202, body: { job_id: jobId }, headers: { 'X-Job-Id': jobId } }
  },
})
