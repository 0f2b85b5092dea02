import type { IncomingHttpHeaders } from 'node:http'
import { FleetError } from '../../../shared/errors.ts'
import type { Caller } from '../../core/caller.ts'
import type { Core } from '../../core/core.ts'
import type { CreateVolumeBackup } from '../../core/volume-backups.ts'
import type { BackupAsked } from './backup-actions.ts'
import { expectingVolumeBackup } from './present.ts'

interface Made {
  readonly id: string
  readonly jobId: string | undefined
}

/** A volume of the fleet's, or else one of the block service behind us, whose token the request must show. */
export async function backUp(
  core: Core,
  { caller, headers }: { readonly caller: Caller; readonly headers: IncomingHttpHeaders },
  asked: CreateVolumeBackup,
): Promise<Made> {
  const { volumeBackups, lentVolumes } = core
  try {
    const { backup, jobId } = await volumeBackups.create(caller, asked)
    return { id: backup.id, jobId }
  } catch (error) {
    const isUnknown = error instanceof FleetError && error.code === 'not_found' && error.field === 'volume'
    const token = tokenOf(headers)
    if (!isUnknown || token === undefined || !(await lentVolumes?.isShown(token))) throw error
    const backup = await lentVolumes?.backUp(caller, token, asked)
    if (backup === undefined) throw error
    return { id: backup.id, jobId: undefined }
  }
}

export async function update(core: Core, asked: BackupAsked): Promise<string | undefined> {
  const { caller, id, headers } = asked
  const ifMatch = expectingVolumeBackup(asked.ifMatch)
  const token = tokenOf(headers)
  if (core.lentVolumes !== undefined && token !== undefined && (await core.lentVolumes.isShown(token))) {
    const { project } = await core.volumeBackups.get(caller, id)
    if (project !== null) {
      await core.lentVolumes.update(caller, token, id, ifMatch)
      return undefined
    }
  }
  return (await core.volumeBackups.update(caller, id, ifMatch)).jobId
}

function tokenOf({ 'x-auth-token': token }: IncomingHttpHeaders): string | undefined {
  return typeof token === 'string' && token !== '' ? token : undefined
}
