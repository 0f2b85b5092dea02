import { FleetError } from '../../shared/errors.ts'
import { atLeast, type Caller, DEFAULT_GROUP_ID, ROLES, type Role } from './caller.ts'

export interface Membership {
  readonly groupId: string
  readonly role: Role
}

/** What bounds a token: its role, the one group it is for, if any, and its end. */
export interface Bounds {
  readonly role: Role
  readonly groupId: string | null
  readonly until?: Date | undefined
}

/** Everything that a credential stands for this moment, before it is known for which group its bearer acts. */
export interface Standing {
  readonly subject: string
  readonly via: Caller['via']
  /** Whose credential it is; null for services and networks, whose rights are their bounds alone. */
  readonly user: {
    readonly id: string
    /** Over the whole fleet. */
    readonly role: Role | null
    /** The oldest first. */
    readonly memberships: readonly Membership[]
  } | null
  /** Null where nothing bounds the user's own rights. */
  readonly bounds: Bounds | null
}

function lesser(left: Role | null, right: Role | null): Role | null {
  if (left === null || right === null) return null
  return ROLES.indexOf(left) < ROLES.indexOf(right) ? left : right
}

function greater(left: Role | null, right: Role | null): Role | null {
  if (left === null || right === null) return left ?? right
  return ROLES.indexOf(left) > ROLES.indexOf(right) ? left : right
}

/** Over the whole fleet: none for a token that is for one group. */
function fleetRoleOf({ user, bounds }: Standing): Role | null {
  if (bounds === null) return user?.role ?? null
  if (bounds.groupId !== null) return null
  return user === null ? bounds.role : lesser(user.role, bounds.role)
}

function roleIn(groupId: string, { user, bounds }: Standing): Role | null {
  if (bounds !== null && bounds.groupId !== null && bounds.groupId !== groupId) return null
  if (user === null) return bounds?.role ?? null
  const membership = user.memberships.find((each) => each.groupId === groupId)
  const own = greater(user.role, membership?.role ?? null)
  return bounds === null ? own : lesser(own, bounds.role)
}

/** The group that is acted for when the request names none. Who may change the whole fleet is not led elsewhere by whoever makes it a member. */
function usualGroup({ user, bounds }: Standing): string {
  const oldest = atLeast(user?.role ?? null, 'operator') ? undefined : user?.memberships[0]
  return bounds?.groupId ?? oldest?.groupId ?? DEFAULT_GROUP_ID
}

/**
 * Who asks, acting for one group.
 * @param named what the request named: a group's id, null for one that does not exist, undefined when it named none.
 * @throws forbidden, in the same words for a group that does not exist as for one of others.
 */
export function callerOf(standing: Standing, named: string | null | undefined): Caller {
  const groupId = named === undefined ? usualGroup(standing) : named
  const role = groupId === null ? null : roleIn(groupId, standing)
  if (groupId === null || role === null) {
    throw new FleetError(
      'forbidden',
      named === undefined ? 'you have no role in any group' : 'you may not act for this group',
    )
  }
  const { subject, via, user, bounds } = standing
  const until = bounds?.until === undefined ? {} : { until: bounds.until }
  const fleetRole = fleetRoleOf(standing)
  return { subject, userId: user?.id ?? null, groupId, role, fleetRole, via, ...until, request: null }
}

/** A network has its role over the whole fleet. */
export function standingOfNetwork(network: string, role: Role): Standing {
  return { subject: `network:${network}`, via: 'network', user: null, bounds: { role, groupId: null } }
}
