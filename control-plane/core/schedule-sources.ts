import { FleetError } from '../../shared/errors.ts'
import type { InstanceType } from '../../shared/instance-spec.ts'
import type { Caller } from './caller.ts'
import type { FleetView, LiveHost } from './fleet-view.ts'
import { anyInstance, type InstanceNames, oneInstance } from './point-instances.ts'
import { isBelow, type OrderPoint } from './point-orders.ts'
import { requireHostPaths } from './point-restore.ts'
import type { Feature, SourceType } from './schedules.ts'

const INSTANCE_FIELDS = { instance: 'container', type: 'type', host: 'host' } as const

interface Places {
  readonly fleet: FleetView
  readonly instances: InstanceNames
}

interface Wish {
  readonly type: SourceType
  readonly container: string
  readonly host: string | null
}

/**
 * The host that is kept with a schedule: the one named, or for a directory the only one that allows it. A container must be there.
 * @throws not_found, refused, conflict (several allow it, or have the container).
 */
export async function hostOfSource({ fleet, instances }: Places, caller: Caller, wish: Wish): Promise<string | null> {
  if (isInstance(wish)) await oneInstance({ fleet, instances }, caller.groupId, instanceWish(wish), INSTANCE_FIELDS)
  return chooseHost(fleet, caller, { ...wish, allowed: (host) => host.sourcePaths, what: 'backups from there' })
}

/** The same for what is restored, which need not be there. */
export async function hostOfDestination(
  { fleet, instances }: Places,
  caller: Caller,
  wish: Wish,
): Promise<string | null> {
  if (isInstance(wish)) await anyInstance({ fleet, instances }, caller.groupId, instanceWish(wish), INSTANCE_FIELDS)
  return chooseHost(fleet, caller, { ...wish, allowed: (host) => host.restorePaths, what: 'restores there' })
}

function isInstance(wish: Wish): wish is Wish & { readonly type: InstanceType } {
  return wish.type === 'lxc' || wish.type === 'docker'
}

function instanceWish({ type, container, host }: Wish & { readonly type: InstanceType }) {
  return { instance: container, type, host: host ?? undefined }
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
    fleetRole: task.type === 'path' || (task.kind === 'restore' && task.type === 'lxc') ? 'operator' : null,
    via: 'system',
    request: null,
  }
}

/** What a point is made of. @throws refused: a directory without a host, which no schedule is. */
export function pointSource(wish: Wish & { readonly features: readonly Feature[] }): OrderPoint['source'] {
  const { type, container, host, features } = wish
  if (isInstance(wish)) return { ...instanceWish(wish), hold: HOLDS.find((hold) => features.includes(hold)) ?? 'none' }
  if (type === 'dataset') return { dataset: container }
  if (host !== null) return { host, path: container }
  throw new FleetError('refused', 'nobody knows on which host the directory is')
}

const HOLDS = ['pause', 'stop'] as const
