import type { IncomingHttpHeaders } from 'node:http'
import type { Caller } from '../../core/caller.ts'
import type { Core } from '../../core/core.ts'
import { type Route, route } from '../../http/route.ts'
import type { IfMatch } from './present.ts'
import { Action, BackupMade, IdParams } from './schemas.ts'
import { inBackupWords } from './wire-words.ts'

export interface BackupAsked {
  readonly caller: Caller
  readonly id: string
  readonly ifMatch: IfMatch
  readonly headers: IncomingHttpHeaders
}

/** What differs between backups of volumes and of instances. */
export interface BackupKind {
  /** `/v1/volume/backup` */
  readonly base: string
  /** In the operations' names: `VolumeBackup` */
  readonly noun: string
  readonly words: { readonly update: string; readonly remove: string; readonly removal: string }
  /** @returns its job, where one is named */
  update(core: Core, asked: BackupAsked): Promise<string | undefined>
  remove(core: Core, asked: BackupAsked): Promise<void>
}

/** What is done with a backup that is there, which is answered by its id. */
export function backupActions({ base, noun, words, update, remove }: BackupKind): readonly Route[] {
  return [
    route({
      operation: `actOn${noun}`,
      method: 'POST',
      path: `${base}/:id/action`,
      summary: words.update,
      description:
        'Its `status` is `creating` before this answers; 400 where the backup is not incremental, 409 while a job about it goes on.',
      access: 'operator',
      status: 201,
      params: IdParams,
      body: Action,
      result: BackupMade,
      errors: [404, 409, 412, 503],
      precondition: 'own',

      async handle({ params: { id }, caller, ifMatch, headers }, core) {
        const jobId = await inBackupWords(update(core, { caller, id, ifMatch, headers }))
        return { status: 201, body: { backup: { id } }, ...(jobId ? { headers: { 'X-Job-Id': jobId } } : {}) }
      },
    }),

    route({
      operation: `delete${noun}`,
      method: 'DELETE',
      path: `${base}/:id`,
      summary: words.remove,
      description: words.removal,
      access: 'operator',
      status: 201,
      params: IdParams,
      result: BackupMade,
      errors: [404, 409, 412],
      precondition: 'own',

      async handle({ params: { id }, caller, ifMatch, headers }, core) {
        await remove(core, { caller, id, ifMatch, headers })
        return { status: 201, body: { backup: { id } } }
      },
    }),
  ]
}
