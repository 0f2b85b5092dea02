import { FleetError } from '../../shared/errors.ts'
import type { Caller } from './caller.ts'
import type { FleetView, LiveHost } from './fleet-view.ts'
import { isBelow, type OrderPoint } from './point-orders.ts'
import { requireHostPaths } from './point-restore.ts'
import type { SourceType } from './schedules.ts'

interface Wish {
  readonly type: SourceType
  readonly container: string
  readonly host: string | null
}

/**
 * The host that is kept with a schedule: the one named, or for a directory the only one that allows it.
 * @throws not_found, refused, conflict (several allow it).
 */
export function hostOfSource(fleet: FleetView, caller: Caller, wish: Wish): string | null {
  return chooseHost(fleet, caller, { ...wish, allowed: (host) => host.sourcePaths, what: 'backups from there' })
}

/** The same for what is restored. */
export function hostOfDestination(fleet: FleetView, caller: Caller, wish: Wish): string | null {
  return chooseHost(fleet, caller, { ...wish, allowed: (host) => host.restorePaths, what: 'restores there' })
}

function chooseHost(
  fleet: FleetView,
  caller: Caller,
  wish: Wish & { readonly allowed: (host: LiveHost) => readonly string[]; readonly what: string },
): string | null {
  const { type, container, host, allowed, what } = wish
  if (host !== null && !fleet.knows(host)) {
    throw new FleetError('not_found', `there is no host '${host}'`, { field: 'host' })
  }
  if (type !== 'path') return host
  requireHostPaths(caller, 'container')
  const candidates = [...fleet.hosts()].filter(
    (one) => (host === null || one.name === host) && isBelow(container, allowed(one)),
  )
  const [only] = candidates
  if (only === undefined) {
    throw new FleetError('refused', `${host === null ? 'no host' : `host '${host}'`} allows ${what}`, {
      field: 'container',
    })
  }
  if (candidates.length === 1) return only.name
  throw new FleetError('conflict', `several hosts allow ${what}; name one of them as host`, {
    field: 'host',
    blockers: candidates.map(({ name }) => name),
  })
}

/** The caller that a schedule's or restore task's own work is done as: whoever made it had these rights. */
export function taskCaller(task: {
  readonly kind: 'schedule' | 'restore'
  readonly number: number
  readonly groupId: string
  readonly type: SourceType
}): Caller {
  return {
    subject: `${task.kind}:${task.number}`,
    userId: null,
    groupId: task.groupId,
    role: 'operator',
    fleetRole: task.type === 'path' ? 'operator' : null,
    via: 'system',
    request: null,
  }
}

/** What a point is made of. @throws refused for what no order can be made of yet. */
export function pointSource({ type, container, host }: Wish): OrderPoint['source'] {
  if (type === 'dataset') return { dataset: container }
  if (type === 'path' && host !== null) return { host, path: container }
  throw new FleetError('refused', 'containers are not backed up by this version yet')
}
