import { FleetError } from '../../../shared/errors.ts'
import { type AnyRoute, raw, route } from '../../http/route.ts'
import { encodeList } from './encoded.ts'
import { etagOfVolumeBackup, expectingVolumeBackup, presentWholeVolumeBackup } from './present.ts'
import {
  Action,
  BackupMade,
  CreateVolumeBackupBody,
  IdParams,
  OneVolumeBackup,
  VolumeBackupList,
  VolumeBackupQuery,
} from './schemas.ts'
import { wholeList } from './whole-list.ts'
import { inBackupWords } from './wire-words.ts'

/**
 * Backups of volumes below one path: the service's own, and the gateway's that leads there.
 * @param base `/v1/volume/backup` @param noun in the operations' names: `VolumeBackup`
 */
export function createVolumeBackupRoutes(base: string, noun: string): readonly AnyRoute[] {
  return [
    raw({
      operation: `list${noun}s`,
      method: 'GET',
      path: base,
      summary: 'List volume backups, newest first',
      description: 'Of the group that is acted for; all of them, unless a `limit` is asked for.',
      access: 'viewer',
      status: 200,
      contentType: 'application/json; charset=utf-8',
      query: VolumeBackupQuery,
      result: VolumeBackupList,
      isCached: true,
      errors: [412, 413],

      async handle({ query, caller, ifMatch }, core) {
        const filter = { volumeId: query.volume_id, name: query.name }
        const encoded = encodeList(await wholeList(query, (page) => core.volumeBackups.list(caller, filter, page)))
        if (ifMatch?.(encoded.etag) === false)
          throw new FleetError('stale', 'the list has changed: If-Match names another version of it')
        return { status: 200, ...encoded }
      },
    }),

    route({
      operation: `get${noun}`,
      method: 'GET',
      path: `${base}/:id`,
      summary: 'Get a volume backup',
      access: 'viewer',
      status: 200,
      params: IdParams,
      result: OneVolumeBackup,
      errors: [404],

      async handle({ params, caller }, core) {
        const backup = await core.volumeBackups.get(caller, params.id)
        return { status: 200, body: { backup: presentWholeVolumeBackup(backup) }, etag: etagOfVolumeBackup(backup) }
      },
    }),

    route({
      operation: `create${noun}`,
      method: 'POST',
      path: base,
      summary: 'Back up a volume',
      description:
        'Answers when that is ordered: its `status` is `creating` until there is a point. A volume that is attached or exported is refused with ' +
        '409 unless a snapshot of it is named, or `force` is.',
      access: 'operator',
      status: 201,
      body: CreateVolumeBackupBody,
      result: BackupMade,
      errors: [404, 409, 503],

      async handle({ body, caller }, core) {
        const { volume_id: volume, snapshot_id: snapshot, name, ...rest } = body.backup
        const { incremental, retention, target, force } = rest
        const { backup, jobId } = await inBackupWords(
          core.volumeBackups.create(caller, {
            ...{ name, volume, snapshot: snapshot ?? undefined, target: target ?? undefined },
            ...{ incremental: incremental ?? undefined, retention: retention ?? undefined, force: force ?? undefined },
          }),
        )
        return { status: 201, body: { backup: { id: backup.id } }, headers: { 'X-Job-Id': jobId } }
      },
    }),

    route({
      operation: `actOn${noun}`,
      method: 'POST',
      path: `${base}/:id/action`,
      summary: 'Update a volume backup: take its next increment now',
      description:
        'Its `status` is `creating` before this answers; 400 where the backup is not incremental, 409 while a job about it goes on.',
      access: 'operator',
      status: 201,
      params: IdParams,
      body: Action,
      result: BackupMade,
      errors: [404, 409, 412, 503],
      precondition: 'own',

      async handle({ params, caller, ifMatch }, core) {
        const { jobId } = await inBackupWords(
          core.volumeBackups.update(caller, params.id, expectingVolumeBackup(ifMatch)),
        )
        return { status: 201, body: { backup: { id: params.id } }, headers: { 'X-Job-Id': jobId } }
      },
    }),

    route({
      operation: `delete${noun}`,
      method: 'DELETE',
      path: `${base}/:id`,
      summary: 'Delete a volume backup, with all its points',
      description:
        'Its `status` is `deleting` until they are gone; then it is not found. 409 while something rests on it.',
      access: 'operator',
      status: 201,
      params: IdParams,
      result: BackupMade,
      errors: [404, 409, 412],
      precondition: 'own',

      async handle({ params, caller, ifMatch }, core) {
        await core.volumeBackups.delete(caller, params.id, expectingVolumeBackup(ifMatch))
        return { status: 201, body: { backup: { id: params.id } } }
      },
    }),
  ]
}
