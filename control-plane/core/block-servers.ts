import { FleetError } from '../../shared/errors.ts'
import type { BlockVolumeRow } from './block-store.ts'

/** What is known of the servers that have volumes. */
export interface Servers {
  /** One of our instances; undefined: anybody's. */
  find(id: string): Promise<{ readonly groupId: string; readonly isStopped: boolean } | undefined>
}

/** An instance of another group is not given what it did not ask for: what is attached is part of its snapshots. @throws not_found */
export async function requireTheirs(
  servers: Servers,
  { groupId }: Pick<BlockVolumeRow, 'groupId'>,
  instanceId: string | null,
): Promise<void> {
  const instance = instanceId === null ? undefined : await servers.find(instanceId)
  if (instance === undefined || instance.groupId === groupId) return
  throw new FleetError('not_found', `there is no server ${instanceId}`)
}

/** @throws conflict while one that has it may run */
export async function requireStill(servers: Servers, { id, groupId, attachments }: BlockVolumeRow): Promise<void> {
  for (const { instanceId, hostName } of attachments) {
    const instance = instanceId === null ? undefined : await servers.find(instanceId)
    if (instance?.groupId === groupId && instance.isStopped) continue
    const server = `server ${instanceId ?? hostName ?? 'unnamed'}`
    throw new FleetError('conflict', `volume ${id} is attached to ${server}, which is not known to be stopped`, {
      blockers: [server],
    })
  }
}
