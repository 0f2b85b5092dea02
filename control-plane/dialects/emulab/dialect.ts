import { COMMON_STATUSES, type Dialect, type Failure } from '../../http/route.ts'
import { cloneStatus } from './clone-status.ts'
import { cloneTest, cloneTestByPost } from './clone-test.ts'
import { createClones, deleteClones } from './clones.ts'
import examples from './examples.json' with { type: 'json' }
import { EmulabErrorBody, StartedView, StatusView } from './schemas.ts'

/** `clones.3.wwn` as the client would write it: `clones[3].wwn`. */
function indexed(field: string): string {
  return field.replaceAll(/\.(\d+)(?=\.|$)/g, '[$1]')
}

function errorBody({ message, field, blockers }: Failure) {
  const named = field !== undefined && message.startsWith(field)
  const told = named ? indexed(field) + message.slice(field.length) : message
  const unnamed = blockers?.filter((blocker) => !told.includes(blocker)) ?? []
  const because = unnamed.length === 0 ? '' : ` (blocked by ${unnamed.join(', ')})`
  return { status: 'error', message: `${told}${because}` }
}

export const emulab: Dialect = {
  name: 'emulab',
  title: 'REST API for creating clones and iSCSI targets',
  version: '1.0',
  description: 'Clones of volumes, many at once, exported as iSCSI LUNs to the initiators that are named.',
  owns: ['/lun'],
  statuses: COMMON_STATUSES,
  errorBody,
  errorSchema: EmulabErrorBody,
  schemas: { Started: StartedView, Status: StatusView, Error: EmulabErrorBody },
  routes: [createClones, deleteClones, cloneStatus, cloneTest, cloneTestByPost],
  examples,
}
