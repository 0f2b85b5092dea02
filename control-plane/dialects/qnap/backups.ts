import { FleetError } from '../../../shared/errors.ts'
import type { Caller } from '../../core/caller.ts'
import type { Core } from '../../core/core.ts'
import { everyPage } from '../../core/every-page.ts'
import type { Schedule, ScheduleCondition } from '../../core/schedules.ts'
import { route } from '../../http/route.ts'
import { inBackupWords, isMerged, mergedChange, newSchedule, plainChange } from './backup-request.ts'
import { BackupList, BackupView, ChangeBackupBody, CreateBackupBody } from './backup-schemas.ts'
import { NumberedId, RemovedIds } from './numbered-id.ts'
import { etagOfBackup, expectingBackup, presentBackup } from './present-backups.ts'

/** A schedule gets a new version with every step of its run: somebody who merges into it may have to look again. */
const MERGES_MAX = 5

function answerOf(schedule: Schedule) {
  return { status: 200, body: presentBackup(schedule), etag: etagOfBackup(schedule) } as const
}

export const createBackup = route({
  operation: 'createBackup',
  method: 'POST',
  path: '/api/v1/backup',
  summary: 'Create a backup schedule',
  access: 'operator',
  status: 200,
  body: CreateBackupBody,
  result: BackupView,
  errors: [404, 409],

  async handle({ body, caller }, core) {
    return answerOf(await inBackupWords(core.schedules.create(caller, newSchedule(body))))
  },
})

export const listBackups = route({
  operation: 'listBackups',
  method: 'GET',
  path: '/api/v1/backup',
  summary: 'List backup schedules',
  access: 'viewer',
  status: 200,
  result: BackupList,
  errors: [413],

  async handle({ caller }, core) {
    const schedules = await everyPage((page) => core.schedules.list(caller, page))
    return { status: 200, body: schedules.map(presentBackup) }
  },
})

export const getBackup = route({
  operation: 'getBackup',
  method: 'GET',
  path: '/api/v1/backup/:id',
  summary: 'Get a backup schedule',
  access: 'viewer',
  status: 200,
  params: NumberedId,
  result: BackupView,
  errors: [404],

  handle: async ({ params, caller }, core) => answerOf(await core.schedules.get(caller, params.id)),
})

interface Merge {
  readonly caller: Caller
  readonly id: string
  readonly body: ChangeBackupBody
  readonly ifMatch: ScheduleCondition | undefined
}

/** Changes what it has just looked at, or looks again. @throws as core, and busy when others are always faster. */
async function merge(core: Core, { caller, id, body, ifMatch }: Merge): Promise<Schedule> {
  for (let attempts = 0; attempts < MERGES_MAX; attempts += 1) {
    const seen = await core.schedules.get(caller, id)
    let isSame = true
    const condition: ScheduleCondition = (current) => {
      isSame = current.version === seen.version
      return isSame && (ifMatch?.(current) ?? true)
    }
    try {
      return await core.schedules.change(caller, id, mergedChange(body, seen), condition)
    } catch (error) {
      if (!(error instanceof FleetError) || error.code !== 'stale' || isSame) throw error
    }
  }
  throw new FleetError('busy', 'others change it all the time: try again')
}

export const changeBackup = route({
  operation: 'changeBackup',
  method: 'PUT',
  path: '/api/v1/backup/:id',
  summary: 'Modify a backup schedule',
  description:
    'What is absent stays as it is. While it waits or runs, what is backed up, where to and its name stay: 409.',
  access: 'operator',
  status: 200,
  params: NumberedId,
  body: ChangeBackupBody,
  result: BackupView,
  errors: [404, 409, 412],
  precondition: 'own',

  async handle({ params, body, caller, ifMatch }, core) {
    const { id } = params
    const condition = expectingBackup(ifMatch)
    const changed = isMerged(body)
      ? merge(core, { caller, id, body, ifMatch: condition })
      : core.schedules.change(caller, id, plainChange(body), condition)
    return answerOf(await inBackupWords(changed))
  },
})

export const runBackup = route({
  operation: 'runBackup',
  method: 'PUT',
  path: '/api/v1/backup/:id/run',
  summary: 'Run a backup schedule immediately',
  description: '`waiting` is stored before this answers; 409 when it waits or runs already.',
  access: 'operator',
  status: 200,
  params: NumberedId,
  result: BackupView,
  errors: [404, 409, 412],
  precondition: 'own',

  async handle({ params, caller, ifMatch }, core) {
    return answerOf(await core.schedules.run(caller, params.id, expectingBackup(ifMatch)))
  },
})

export const stopBackup = route({
  operation: 'stopBackup',
  method: 'PUT',
  path: '/api/v1/backup/:id/stop',
  summary: 'Stop a backup schedule immediately',
  description: 'Nothing happens to one that neither waits nor runs.',
  access: 'operator',
  status: 200,
  params: NumberedId,
  result: BackupView,
  errors: [404, 412],
  precondition: 'own',

  async handle({ params, caller, ifMatch }, core) {
    return answerOf(await core.schedules.stop(caller, params.id, expectingBackup(ifMatch)))
  },
})

export const deleteBackup = route({
  operation: 'deleteBackup',
  method: 'DELETE',
  path: '/api/v1/backup/:id',
  summary: 'Delete a backup task, which the task state must be init, scheduled, completed',
  description: 'What it backed up stays. 409 while it waits or runs.',
  access: 'operator',
  status: 200,
  params: NumberedId,
  result: RemovedIds,
  errors: [404, 409, 412],
  precondition: 'own',

  async handle({ params, caller, ifMatch }, core) {
    const { number } = await core.schedules.delete(caller, params.id, expectingBackup(ifMatch))
    return { status: 200, body: [number] }
  },
})
