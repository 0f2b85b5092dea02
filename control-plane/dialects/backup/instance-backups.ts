import { type Route, route } from '../../http/route.ts'
import { backupActions } from './backup-actions.ts'
import { CreateInstanceBackupBody, InstanceBackupList, InstanceQuery, OneInstanceBackup } from './instance-schemas.ts'
import { etagOfInstanceBackup, expectingInstanceBackup, presentInstanceBackup } from './present-instances.ts'
import { BackupMade, IdParams } from './schemas.ts'
import { wholeList } from './whole-list.ts'
import { inBackupWords } from './wire-words.ts'

/**
 * Backups of instances below one path: the service's own, and the gateway's that leads there.
 * @param base `/v1/instance/backup` @param noun in the operations' names: `InstanceBackup`
 */
export function createInstanceBackupRoutes(base: string, noun: string): readonly Route[] {
  return [
    route({
      operation: `list${noun}s`,
      method: 'GET',
      path: base,
      summary: 'List instance backups, newest first',
      description: 'Of the group that is acted for; all of them, unless a `limit` is asked for.',
      access: 'viewer',
      status: 200,
      query: InstanceQuery,
      result: InstanceBackupList,
      errors: [413],

      async handle({ query, caller }, core) {
        const filter = { instanceId: query.instance_id }
        const { items, next } = await wholeList(query, (page) => core.instanceBackups.list(caller, filter, page))
        return { status: 200, body: { backups: items.map(presentInstanceBackup), ...next } }
      },
    }),

    route({
      operation: `get${noun}`,
      method: 'GET',
      path: `${base}/:id`,
      summary: 'Get an instance backup, with its parts',
      access: 'viewer',
      status: 200,
      params: IdParams,
      result: OneInstanceBackup,
      errors: [404],

      async handle({ params, caller }, core) {
        const found = await core.instanceBackups.get(caller, params.id)
        return { status: 200, body: { backup: presentInstanceBackup(found) }, etag: etagOfInstanceBackup(found) }
      },
    }),

    route({
      operation: `create${noun}`,
      method: 'POST',
      path: base,
      summary: 'Back up an instance: its root and every volume that is attached to it, of one instant',
      description:
        'Answers when that is ordered. 409 for an instance that is none of ACTIVE, SHUTOFF, SUSPENDED and PAUSED.',
      access: 'operator',
      status: 201,
      body: CreateInstanceBackupBody,
      result: BackupMade,
      errors: [404, 409, 503],

      async handle({ body, caller }, core) {
        const { name, instance_id: instance, target, incremental } = body.backup
        const asked = { name, instance, target: target ?? undefined, incremental: incremental ?? undefined }
        const { id } = await inBackupWords(core.instanceBackups.create(caller, asked))
        return { status: 201, body: { backup: { id } } }
      },
    }),

    ...backupActions({
      ...{ base, noun, words: WORDS },
      async update(core, { caller, id, ifMatch }) {
        await core.instanceBackups.update(caller, id, expectingInstanceBackup(ifMatch))
        return undefined
      },
      remove: (core, { caller, id, ifMatch }) =>
        core.instanceBackups.delete(caller, id, expectingInstanceBackup(ifMatch)),
    }),
  ]
}

const WORDS = {
  update: 'Update an instance backup: take the next increment of all its parts now',
  remove: 'Delete an instance backup, with its parts',
  removal: 'Its `status` is `deleting` until they are gone; then it is not found.',
}
