import { route } from '../../http/route.ts'
import { noSnapshot } from './messages.ts'
import { mutate, whenAbsent } from './mutation.ts'
import { expecting } from './present.ts'
import { NameParam } from './schemas.ts'

export const deleteSnapshot = route({
  operation: 'deleteSnapshot',
  method: 'DELETE',
  path: '/api/v1/snapshots/:name',
  summary: 'Delete a snapshot',
  access: 'operator',
  status: 204,
  params: NameParam,
  errors: [412, 503],
  precondition: 'own',

  async handle({ params: { name }, caller, signal, ifMatch }, core) {
    const accept = () => core.datasets.delete(caller, { name, snapshotOnly: true, ifMatch: expecting(ifMatch) })
    const explain = whenAbsent(noSnapshot(name))
    const { headers } = await mutate({ code: 'DELETE_SNAPSHOT_FAILED', accept, signal, explain }, core)
    return { status: 204, headers }
  },
})
