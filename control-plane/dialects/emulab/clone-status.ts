import { FleetError } from '../../../shared/errors.ts'
import { Id } from '../../../shared/ids.ts'
import { route } from '../../http/route.ts'
import { presentStatus } from './present.ts'
import { JobParam, StatusView } from './schemas.ts'

export const cloneStatus = route({
  operation: 'cloneStatus',
  method: 'GET',
  path: '/lun/api/v1.0/clone_status/:job_id',
  summary: 'How far a job is that makes or removes clones and targets',
  access: 'viewer',
  status: 200,
  params: JobParam,
  result: StatusView,
  errors: [404],

  async handle({ params: { job_id: given }, caller }, core) {
    const absent = (cause?: unknown) => new FleetError('not_found', `there is no job '${given}'`, { cause })
    const id = Id.safeParse(given)
    if (!id.success) throw absent()
    const batch = await core.exports.batch(caller, id.data).catch((error: unknown) => {
      throw error instanceof FleetError && error.code === 'not_found' ? absent(error) : error
    })
    return { status: 200, body: presentStatus(batch) }
  },
})
