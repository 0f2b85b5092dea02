import { route } from '../../http/route.ts'
import { etagOf, expecting, presentJob } from './present.ts'
import { JobId, JobPage, JobQuery, JobView } from './schemas.ts'

export const listJobs = route({
  operation: 'listJobs',
  method: 'GET',
  path: '/api/v1/jobs',
  summary: 'Jobs that match every filter given, newest first',
  access: 'viewer',
  status: 200,
  query: JobQuery,
  result: JobPage,
  errors: [404],

  async handle({ query, caller }, core) {
    const { limit, cursor, ...filter } = query
    const { items, nextCursor } = await core.jobs.list(caller, filter, { limit, cursor })
    return { status: 200, body: { items: items.map((job) => presentJob(job, caller)), next_cursor: nextCursor } }
  },
})

export const getJob = route({
  operation: 'getJob',
  method: 'GET',
  path: '/api/v1/jobs/:id',
  summary: 'One job',
  access: 'viewer',
  status: 200,
  params: JobId,
  result: JobView,
  errors: [404],

  async handle({ params, caller }, core) {
    const job = await core.jobs.get(caller, params.id)
    return { status: 200, body: presentJob(job, caller), etag: etagOf(job) }
  },
})

export const cancelJob = route({
  operation: 'cancelJob',
  method: 'POST',
  path: '/api/v1/jobs/:id/cancel',
  summary: 'Ask a job to stop',
  description: 'One that was never sent is `cancelled` at once; else it is `cancelling` until its agent confirms.',
  access: 'operator',
  status: 202,
  params: JobId,
  result: JobView,
  errors: [404, 409, 412],
  precondition: 'own',

  async handle({ params, caller, ifMatch }, core) {
    const job = await core.jobs.cancel(caller, params.id, expecting(ifMatch))
    return { status: 202, body: presentJob(job, caller), headers: { 'X-Job-Id': job.id }, etag: etagOf(job) }
  },
})

export const retryJob = route({
  operation: 'retryJob',
  method: 'POST',
  path: '/api/v1/jobs/:id/retry',
  summary: 'A new job for the work of one that failed or was cancelled',
  access: 'operator',
  status: 202,
  params: JobId,
  result: JobView,
  errors: [404, 409, 412, 503],
  precondition: 'own',

  async handle({ params, caller, ifMatch }, core) {
    const job = await core.jobs.retry(caller, params.id, expecting(ifMatch))
    return { status: 202, body: presentJob(job, caller), headers: { 'X-Job-Id': job.id }, etag: etagOf(job) }
  },
})
