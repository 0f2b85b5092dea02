import { route } from '../../http/route.ts'
import {
  CreatePointBody,
  JobAccepted,
  PointAccepted,
  PointId,
  PointPage,
  PointQuery,
  PointView,
} from './point-schemas.ts'
import { etagOfPoint, expectingPoint, presentPoint } from './present-points.ts'

const LOCAL = 'local'

function sourceOf({ dataset, instance, type, hold, volume, snapshot, host, path }: CreatePointBody['source']) {
  if (dataset !== undefined) return { dataset }
  if (instance !== undefined) return { instance, type, host, hold }
  if (volume !== undefined) return { volume, snapshot }
  // The schema lets nothing else through than one of the four.
  return { host: host ?? '', path: path ?? '' }
}

export const createPoint = route({
  operation: 'createPoint',
  method: 'POST',
  path: '/api/v1/points',
  summary: 'Back up a dataset, an instance, a volume or a directory of a host',
  description:
    'The point is `running` until its job ends. A volume is read as it was at one instant, whoever has it open. A directory of a host takes the role operator over the fleet.',
  access: 'operator',
  status: 202,
  body: CreatePointBody,
  result: PointAccepted,
  errors: [404, 409, 503],

  async handle({ body, caller }, core) {
    const { source, target, ...rest } = body
    const request = { ...rest, source: sourceOf(source), target: target === LOCAL ? undefined : target }
    const { point, jobId } = await core.points.create(caller, request)
    return { status: 202, body: { id: point.id, job_id: jobId }, headers: { 'X-Job-Id': jobId } }
  },
})

export const listPoints = route({
  operation: 'listPoints',
  method: 'GET',
  path: '/api/v1/points',
  summary: 'Points that match every filter given, newest first',
  access: 'viewer',
  status: 200,
  query: PointQuery,
  result: PointPage,
  errors: [404],

  async handle({ query, caller }, core) {
    const { limit, cursor, ...filter } = query
    const { items, nextCursor } = await core.points.list(caller, filter, { limit, cursor })
    return { status: 200, body: { items: items.map((point) => presentPoint(point, caller)), next_cursor: nextCursor } }
  },
})

export const getPoint = route({
  operation: 'getPoint',
  method: 'GET',
  path: '/api/v1/points/:id',
  summary: 'One point',
  access: 'viewer',
  status: 200,
  params: PointId,
  result: PointView,
  errors: [404],

  async handle({ params, caller }, core) {
    const point = await core.points.get(caller, params.id)
    return { status: 200, body: presentPoint(point, caller), etag: etagOfPoint(point) }
  },
})

export const deletePoint = route({
  operation: 'deletePoint',
  method: 'DELETE',
  path: '/api/v1/points/:id',
  summary: 'Delete a point',
  description:
    '409 with `blockers`, the ids of the points that complete it, while there are any; 409 too while it is pinned.',
  access: 'operator',
  status: 202,
  params: PointId,
  result: JobAccepted,
  errors: [404, 409, 412, 503],
  precondition: 'own',

  async handle({ params, caller, ifMatch }, core) {
    const { jobId } = await core.points.delete(caller, params.id, expectingPoint(ifMatch))
    return { status: 202, body: { job_id: jobId }, headers: { 'X-Job-Id': jobId } }
  },
})

function pinning(
  operation: string,
  { method, pinned }: { readonly method: 'PUT' | 'DELETE'; readonly pinned: boolean },
) {
  return route({
    operation,
    method,
    path: '/api/v1/points/:id/pin',
    summary: pinned ? 'Keep a point whatever retention says' : 'Let go of a pinned point',
    access: 'operator',
    status: 200,
    params: PointId,
    result: PointView,
    errors: [404, 409, 412],
    precondition: 'own',

    async handle({ params, caller, ifMatch }, core) {
      const point = await core.points.pin(caller, params.id, pinned, expectingPoint(ifMatch))
      return { status: 200, body: presentPoint(point, caller), etag: etagOfPoint(point) }
    },
  })
}

export const pinPoint = pinning('pinPoint', { method: 'PUT', pinned: true })
export const unpinPoint = pinning('unpinPoint', { method: 'DELETE', pinned: false })
