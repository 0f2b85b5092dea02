import { everyPage } from '../../core/every-page.ts'
import type { RestoreTask } from '../../core/restore-tasks.ts'
import { route } from '../../http/route.ts'
import { inRestoreWords, newRestoreTask } from './backup-request.ts'
import { CreateRestoreBody, RestoreList, RestoreView } from './backup-schemas.ts'
import { NumberedId, RemovedIds } from './numbered-id.ts'
import { etagOfRestore, expectingRestore, presentRestore } from './present-backups.ts'

/** @param timezone the server's: of the times that are shown. */
export function createRestoreRoutes(timezone: string) {
  function answerOf(task: RestoreTask) {
    const named = task.jobId === null ? {} : { headers: { 'X-Job-Id': task.jobId } }
    return { status: 200, body: presentRestore(task, timezone), etag: etagOfRestore(task), ...named } as const
  }

  const createRestore = route({
    operation: 'createRestore',
    method: 'POST',
    path: '/api/v1/restore',
    summary: 'Create a restore job',
    description:
      'It begins at once, unless it is disabled. A portfolio that names nothing fails the job, not this request.',
    access: 'operator',
    status: 200,
    body: CreateRestoreBody,
    result: RestoreView,
    errors: [409],

    async handle({ body, caller }, core) {
      return answerOf(await inRestoreWords(core.restoreTasks.create(caller, newRestoreTask(body))))
    },
  })

  const listRestores = route({
    operation: 'listRestores',
    method: 'GET',
    path: '/api/v1/restore',
    summary: 'List restore jobs',
    access: 'viewer',
    status: 200,
    result: RestoreList,
    errors: [413],

    async handle({ caller }, core) {
      const tasks = await everyPage((page) => core.restoreTasks.list(caller, page))
      return { status: 200, body: tasks.map((task) => presentRestore(task, timezone)) }
    },
  })

  const getRestore = route({
    operation: 'getRestore',
    method: 'GET',
    path: '/api/v1/restore/:id',
    summary: 'Get a restore schedule',
    access: 'viewer',
    status: 200,
    params: NumberedId,
    result: RestoreView,
    errors: [404],

    handle: async ({ params, caller }, core) => answerOf(await core.restoreTasks.get(caller, params.id)),
  })

  const stopRestore = route({
    operation: 'stopRestore',
    method: 'PUT',
    path: '/api/v1/restore/:id/stop',
    summary: 'Stop a restore task immediately',
    description: 'What it would have replaced stays as it was. Nothing happens to one that has ended.',
    access: 'operator',
    status: 200,
    params: NumberedId,
    result: RestoreView,
    errors: [404, 412],
    precondition: 'own',

    async handle({ params, caller, ifMatch }, core) {
      return answerOf(await core.restoreTasks.stop(caller, params.id, expectingRestore(ifMatch)))
    },
  })

  const deleteRestore = route({
    operation: 'deleteRestore',
    method: 'DELETE',
    path: '/api/v1/restore/:id',
    summary: 'Delete a restore task, which the task state must be init, scheduled, completed',
    description: '409 while it waits or runs.',
    access: 'operator',
    status: 200,
    params: NumberedId,
    result: RemovedIds,
    errors: [404, 409, 412],
    precondition: 'own',

    async handle({ params, caller, ifMatch }, core) {
      const { number } = await core.restoreTasks.delete(caller, params.id, expectingRestore(ifMatch))
      return { status: 200, body: [number] }
    },
  })

  return [createRestore, listRestores, getRestore, stopRestore, deleteRestore]
}
