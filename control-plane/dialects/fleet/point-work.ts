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
import { inClientWords } from './wire-names.ts'

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
    const { path = '', ...rest } = query
    const { items, nextCursor } = await core.points.files(caller, params.id, { path, ...rest })
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
  // The schema lets nothing else through than one of the four.
  return { host: host ?? '', path }
}

export const restorePoint = route({
  operation: 'restorePoint',
  method: 'POST',
  path: '/api/v1/points/:id/restore',
  summary: 'Restore a point, or some of its files',
  access: 'operator',
  status: 202,
  params: PointId,
  body: RestoreBody,
  result: JobAccepted,
  errors: [404, 409, 503],

  async handle({ params, body, caller }, core) {
    const { paths, overwrite } = body
    const request = { paths, overwrite, destination: destinationOf(body.destination) }
    const { jobId } = await inClientWords(core.points.restore(caller, params.id, request))
    return { status: 202, body: { job_id: jobId }, headers: { 'X-Job-Id': jobId } }
  },
})
