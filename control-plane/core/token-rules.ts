import { FleetError } from '../../shared/errors.ts'
import { atLeast, type Caller, hasRole, ROLES, type Role } from './caller.ts'

/** Whose a token is and what it is for, by uuids. `user` null: a service's; `group` null: not for one group alone. */
export interface TokenScope {
  readonly userId: string | null
  readonly groupId: string | null
  readonly role: Role
}

/** Which tokens a caller may see: all, or its own (with `ownGroupId`: only those for that group) and those for one group. */
export type TokenSight =
  | { readonly everyone: true }
  | {
      readonly everyone: false
      readonly userId: string | null
      readonly ownGroupId: string | null
      readonly groupId: string | null
    }

/** Whether the credential itself is bound to less than its user may do: what it makes must not reach beyond it. */
function isBound(caller: Caller): boolean {
  return caller.via === 'token' && caller.fleetRole === null
}

/** Admins of the fleet see all tokens, those of a group the ones for it, everybody their own. */
export function tokenSight(caller: Caller): TokenSight {
  if (atLeast(caller.fleetRole, 'admin')) return { everyone: true }
  return {
    everyone: false,
    userId: caller.userId,
    ownGroupId: isBound(caller) ? caller.groupId : null,
    groupId: hasRole(caller, 'admin') ? caller.groupId : null,
  }
}

/**
 * Nobody makes, widens or revokes a token that may do more than itself: people have tokens of their own, admins of a group
 * also a service's for that group, admins of the fleet any.
 * @throws forbidden.
 */
export function requireTokenRight(caller: Caller, { userId, groupId, role }: TokenScope): void {
  if (atLeast(caller.fleetRole, 'admin')) return
  const own = userId !== null && userId === caller.userId
  const forGroup = groupId === caller.groupId
  if (!own && !(userId === null && forGroup && hasRole(caller, 'admin'))) {
    throw new FleetError('forbidden', 'you may have tokens of your own, and as admin of a group those of its services')
  }
  if (!forGroup && isBound(caller)) {
    throw new FleetError('forbidden', 'a token makes tokens for its own group only')
  }
  if (ROLES.indexOf(role) > ROLES.indexOf(caller.role)) {
    throw new FleetError('forbidden', `a token may not have more than your own role '${caller.role}'`)
  }
}

/** Else a token that was to end soon would see to it that it does not. @throws forbidden. */
export function requireNoLongerLife(caller: Caller, expiresAt: Date | null): void {
  const { until } = caller
  if (until === undefined || atLeast(caller.fleetRole, 'admin')) return
  if (expiresAt !== null && expiresAt <= until) return
  throw new FleetError('forbidden', 'a token that expires makes none that lasts longer')
}

/** Admins of a group may end what reaches into it, whoever's it is. @throws forbidden. */
export function requireRevocationRight(caller: Caller, scope: TokenScope): void {
  if (scope.groupId === caller.groupId && hasRole(caller, 'admin')) return
  requireTokenRight(caller, scope)
}
