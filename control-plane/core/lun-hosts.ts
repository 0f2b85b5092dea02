import { FleetError } from '../../shared/errors.ts'
import { type FleetView, type LiveHost, requireOnline } from './fleet-view.ts'
import type { LunInitiator } from './lending.ts'

const NOBODY = 'no host that is online can log in to volumes of the block service'

/** @throws unavailable (offline), refused (it cannot log in anywhere). */
export function lunInitiator(fleet: FleetView, name: string): LunInitiator {
  requireOnline(fleet, name)
  const initiator = fleet.host(name)?.initiator ?? null
  if (initiator === null) throw new FleetError('refused', `host '${name}' cannot log in to volumes of others`)
  return { host: name, initiator }
}

/** Any that can. @param keeps its points lie on the host itself. @throws unavailable */
export function anyLunHost(fleet: FleetView, keeps: boolean): LiveHost {
  const able = [...fleet.hosts()].filter(
    (host) =>
      host.isOnline && host.initiator !== null && !fleet.isDraining(host.name) && !(keeps && host.backupRoot === null),
  )
  // Not always the same one.
  const host = able[Math.floor(Math.random() * able.length)]
  if (host === undefined) throw new FleetError('unavailable', keeps ? `${NOBODY} and keep backups itself` : NOBODY)
  return host
}
