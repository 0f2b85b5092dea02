import { type ErrorCode, FleetError } from '../../../shared/errors.ts'
import { SnapshotRestored } from '../../../shared/job-spec.ts'
import { route } from '../../http/route.ts'
import { resolveDestination } from './destination.ts'
import { noDataset, noSnapshot } from './messages.ts'
import { type MutationCode, mutate } from './mutation.ts'
import { presentRestore } from './present.ts'
import { RestoreBody, RestoreView } from './schemas.ts'

/** Failures that, on a host path, are about writing there unless `field` blames something else. */
const DESTINATION_CODES: ReadonlySet<ErrorCode> = new Set(['refused', 'no_space', 'exists', 'conflict'])

function codeFor(kind: 'dataset' | 'host') {
  return ({ code, field }: FleetError): MutationCode => {
    const atDestination = field?.startsWith('destination') || (field === undefined && DESTINATION_CODES.has(code))
    return kind === 'host' && atDestination ? 'WRITE_DESTINATION_FAILED' : 'INSTANT_RESTORE_FAILED'
  }
}

export const restore = route({
  operation: 'restoreSnapshot',
  method: 'POST',
  path: '/api/v1/snapshots/restore',
  summary: 'Restore a file or a directory tree from a snapshot',
  description:
    'Inside a dataset by sharing blocks where its pool can; outside, below the allowed host paths, by copying.',
  access: 'operator',
  status: 200,
  body: RestoreBody,
  result: RestoreView,
  errors: [503],

  async handle({ body, caller, signal }, core) {
    const { snapshot, source, dataset, overwrite } = body
    const destination = resolveDestination(body.destination, dataset)

    /** What is wrong with the names of an otherwise sound request is a failed restore here, not a bad request. */
    const accept = async () => {
      try {
        return await core.snapshots.restore(caller, { snapshot, source, destination, dataset, overwrite })
      } catch (thrown) {
        if (!(thrown instanceof FleetError) || thrown.code !== 'invalid') throw thrown
        throw new FleetError('conflict', thrown.message, { field: thrown.field ?? 'snapshot', cause: thrown })
      }
    }
    const explain = ({ code, field }: FleetError) => {
      if (code !== 'not_found') return undefined
      if (field === 'dataset' && dataset !== undefined) return noDataset(dataset)
      return field === 'snapshot' || dataset === undefined ? noSnapshot(snapshot) : undefined
    }
    const { result, headers } = await mutate({ code: codeFor(destination.kind), accept, signal, explain }, core)
    const restored = SnapshotRestored.parse(result)
    return { status: 200, body: presentRestore(restored, destination.kind), headers }
  },
})
