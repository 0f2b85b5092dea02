import type { IncomingHttpHeaders } from 'node:http'
import { FleetError } from '../../../shared/errors.ts'
import type { Caller } from '../../core/caller.ts'
import type { Core } from '../../core/core.ts'
import type { LentVolumes } from '../../core/lent-volumes.ts'
import type { CreateVolumeBody } from './schemas.ts'

type CreateBody = ReturnType<typeof CreateVolumeBody.parse>

interface Who {
  readonly caller: Caller
  readonly headers: IncomingHttpHeaders
}

/** Of the block service behind us, with the token of it that a request shows; undefined where it shows none, or there is none. */
async function shownBy(
  { lentVolumes }: Core,
  { 'x-auth-token': token }: IncomingHttpHeaders,
): Promise<{ readonly lent: LentVolumes; readonly token: string } | undefined> {
  if (lentVolumes === undefined || typeof token !== 'string') return undefined
  return (await lentVolumes.isShown(token)) ? { lent: lentVolumes, token } : undefined
}

/** A volume of a backup, made there for who shows its token. @returns undefined where it is ours to make */
export async function restoredThere(core: Core, { caller, headers }: Who, body: CreateBody) {
  const { backup_id: backupId, size, name, description, metadata, ...rest } = body.volume
  const shown = backupId ? await shownBy(core, headers) : undefined
  if (!backupId || shown === undefined) return undefined
  if (rest.snapshot_id || rest.source_volid)
    throw new FleetError('invalid', 'backup_id: a volume is made of one thing', { field: 'backup_id' })
  const { volume_type: type, availability_zone: zone } = rest
  const told = { name, description, metadata: metadata ?? {}, volume_type: type, availability_zone: zone }
  const words = Object.fromEntries(Object.entries(told).filter(([, value]) => value !== undefined && value !== null))
  return shown.lent.restore(caller, shown.token, { backupId, sizeGib: size ?? undefined, words })
}

/** To a snapshot: of a volume of ours, or else of one there. @returns the job, where it is ours */
export async function rolledBack(core: Core, { caller, headers }: Who, id: string, snapshotId: string) {
  try {
    return (await core.blockVolumes.revert(caller, id, snapshotId, 'any')).jobId
  } catch (error) {
    const isUnknown = error instanceof FleetError && error.code === 'not_found'
    const shown = isUnknown ? await shownBy(core, headers) : undefined
    if (shown === undefined) throw error
    await shown.lent.rollback(caller, shown.token, id, snapshotId)
    return undefined
  }
}
