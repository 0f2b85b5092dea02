import { FleetError } from '../../../shared/errors.ts'
import { route } from '../../http/route.ts'
import { noSnapshot, notASnapshot } from './messages.ts'
import { mutate, whenAbsent } from './mutation.ts'
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

  async handle({ params: { name }, caller, signal }, core) {
    // What a name stands for never changes while it exists: names of deleted datasets are free, but a look then a
    // delete by somebody who reuses the name in between deletes what they made a moment ago, as any DELETE would.
    const accept = async () => {
      const { isSnapshot } = await core.datasets.get(caller, name)
      if (isSnapshot) return core.datasets.delete(caller, name)
      throw new FleetError('conflict', notASnapshot(name))
    }
    const explain = whenAbsent(noSnapshot(name))
    const { headers } = await mutate({ code: 'DELETE_SNAPSHOT_FAILED', accept, signal, explain }, core)
    return { status: 204, headers }
  },
})
