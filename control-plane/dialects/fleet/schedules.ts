import { route } from '../../http/route.ts'
import { PointId, PointView } from './point-schemas.ts'
import { etagOfPoint, presentPoint } from './present-points.ts'
import { etagOfSchedule, presentPreview, presentRun, presentSchedule } from './present-schedules.ts'
import { RetentionView, RunPage, RunQuery, ScheduleId, SchedulePage, ScheduleView } from './schedule-schemas.ts'
import { PageQuery } from './schemas.ts'

export const listSchedules = route({
  operation: 'listSchedules',
  method: 'GET',
  path: '/api/v1/schedules',
  summary: 'Backup schedules, by number',
  description: 'They are made and changed at `/api/v1/backup/`.',
  access: 'viewer',
  status: 200,
  query: PageQuery,
  result: SchedulePage,

  async handle({ query, caller }, core) {
    const { items, nextCursor } = await core.schedules.list(caller, query)
    return { status: 200, body: { items: items.map(presentSchedule), next_cursor: nextCursor } }
  },
})

export const getSchedule = route({
  operation: 'getSchedule',
  method: 'GET',
  path: '/api/v1/schedules/:id',
  summary: 'One backup schedule',
  access: 'viewer',
  status: 200,
  params: ScheduleId,
  result: ScheduleView,
  errors: [404],

  async handle({ params, caller }, core) {
    const schedule = await core.schedules.get(caller, params.id)
    return { status: 200, body: presentSchedule(schedule), etag: etagOfSchedule(schedule) }
  },
})

export const listRuns = route({
  operation: 'listRuns',
  method: 'GET',
  path: '/api/v1/schedules/:id/runs',
  summary: 'The ledger: what became of each due instant and each run that was asked for, newest first',
  access: 'viewer',
  status: 200,
  params: ScheduleId,
  query: RunQuery,
  result: RunPage,
  errors: [404],

  async handle({ params, query, caller }, core) {
    const { limit, cursor, ...filter } = query
    const { items, nextCursor } = await core.schedules.runs(caller, params.id, filter, { limit, cursor })
    return { status: 200, body: { items: items.map(presentRun), next_cursor: nextCursor } }
  },
})

export const previewRetention = route({
  operation: 'previewRetention',
  method: 'GET',
  path: '/api/v1/schedules/:id/retention-preview',
  summary: 'What would be deleted now, what would stay, and why',
  access: 'viewer',
  status: 200,
  params: ScheduleId,
  result: RetentionView,
  errors: [404],

  async handle({ params, caller }, core) {
    return { status: 200, body: presentPreview(await core.schedules.retentionPreview(caller, params.id)) }
  },
})

export const untrashPoint = route({
  operation: 'untrashPoint',
  method: 'POST',
  path: '/api/v1/points/:id/untrash',
  summary: 'Take back a point that retention deleted',
  description:
    'While its bytes are not removed: 409 afterwards, and for a point that is not trashed. It is pinned, and `returning` until a job has put it and what it rests on back in their place.',
  access: 'operator',
  status: 202,
  params: PointId,
  result: PointView,
  errors: [404, 409],

  async handle({ params, caller }, core) {
    await core.schedules.undelete(caller, params.id)
    const point = await core.points.get(caller, params.id)
    return { status: 202, body: presentPoint(point, caller), etag: etagOfPoint(point) }
  },
})
