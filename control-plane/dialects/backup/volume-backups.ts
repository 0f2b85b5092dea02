import { FleetError } from '../../../shared/errors.ts'
import { type AnyRoute, raw, route } from '../../http/route.ts'
import { backupActions } from './backup-actions.ts'
import { encodeList } from './encoded.ts'
import { backUp, update } from './lent.ts'
import { etagOfVolumeBackup, expectingVolumeBackup, presentWholeVolumeBackup } from './present.ts'
import {
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
        '409 unless a snapshot of it is named, or `force` is. With a Cinder behind this service also of its volumes, for whoever shows its token in ' +
        '`X-Auth-Token`.',
      access: 'operator',
      status: 201,
      body: CreateVolumeBackupBody,
      result: BackupMade,
      errors: [404, 409, 503],

      async handle({ body, caller, headers }, core) {
        const { volume_id: volume, snapshot_id: snapshot, name, ...rest } = body.backup
        const { incremental, retention, target, force } = rest
        const asked = {
          ...{ name, volume, snapshot: snapshot ?? undefined, target: target ?? undefined },
          ...{ incremental: incremental ?? undefined, retention: retention ?? undefined, force: force ?? undefined },
        }
        const { id, jobId } = await inBackupWords(backUp(core, { caller, headers }, asked))
        return { status: 201, body: { backup: { id } }, ...(jobId ? { headers: { 'X-Job-Id': jobId } } : {}) }
      },
    }),

    ...backupActions({
      ...{ base, noun, update, words: WORDS },
      remove: (core, { caller, id, ifMatch }) => core.volumeBackups.delete(caller, id, expectingVolumeBackup(ifMatch)),
    }),
  ]
}

const WORDS = {
  update: 'Update a volume backup: take its next increment now',
  remove: 'Delete a volume backup, with all its points',
  removal: 'Its `status` is `deleting` until they are gone; then it is not found. 409 while something rests on it.',
}
