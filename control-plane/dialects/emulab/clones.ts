import type { AcceptedExports } from '../../core/exports.ts'
import { route } from '../../http/route.ts'
import { CreateBody, DeleteBody, StartedView } from './schemas.ts'

const PATH = '/lun/api/v1.0/clone'

/** The header names the job of the first host; there is one on each host that has some of the list. */
function started({ batchId, jobIds: [jobId] }: AcceptedExports) {
  const named = jobId === undefined ? {} : { headers: { 'X-Job-Id': jobId } }
  return { status: 201, body: { status: 'ok', job_id: batchId }, ...named } as const
}

export const createClones = route({
  operation: 'createClones',
  method: 'POST',
  path: PATH,
  summary: 'Clone volumes and export them as iSCSI targets',
  description:
    'Answers before anything is made: ask `clone_status`. Volumes and targets that are there as asked for are used again. An element that ' +
    'cannot be made (an unknown pool or snapshot, a target that is in use) fails alone.',
  access: 'operator',
  status: 201,
  body: CreateBody,
  result: StartedView,

  async handle({ body, caller }, core) {
    const wanted = body.clones.map(({ src, dst, ...rest }) => ({ source: src, volume: dst, ...rest }))
    return started(await core.exports.create(caller, wanted))
  },
})

export const deleteClones = route({
  operation: 'deleteClones',
  method: 'DELETE',
  path: PATH,
  summary: 'Remove iSCSI targets, and their volumes where that is asked for',
  description:
    'Answers before anything is removed: ask `clone_status`. What is not there is removed already. An element into whose target an initiator ' +
    'is logged in fails, unless it has `force`.',
  access: 'operator',
  status: 201,
  body: DeleteBody,
  result: StartedView,

  async handle({ body, caller }, core) {
    const asked = body.clones.map(({ dst, wwn, deleteClone, deleteClones: deleteThem, force }) => ({
      volume: dst,
      wwn,
      deleteVolume: deleteClone || deleteThem,
      force,
    }))
    return started(await core.exports.remove(caller, asked))
  },
})
