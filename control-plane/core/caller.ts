import { FleetError } from '../../shared/errors.ts'
import type { KeyHold } from './idempotency.ts'

export const ROLES = ['viewer', 'operator', 'admin'] as const
export type Role = (typeof ROLES)[number]

/** The request that a caller makes, as audit and idempotence keep it. */
export interface RequestMark {
  /** What the answer's `X-Request-Id` says. */
  readonly id: string
  /** Where it came from: the socket's peer, or what a configured proxy says of it. */
  readonly address: string
  readonly method: string
  /** Without its query string. */
  readonly path: string
}

/** Who asks. Every core operation takes one; `via` tells which credential it was (the browser rules depend on it). */
export interface Caller {
  /** For audit and `job.created_by`: `user:alice`, `token:ci`, `network:127.0.0.0/8`, `system`. */
  readonly subject: string
  /** The user behind the credential; null for service tokens, networks and ourselves. */
  readonly userId: string | null
  /** The tenant that is acted for: names are looked up there, and what is made belongs there. */
  readonly groupId: string
  /** In that group: the greater of what is granted there and over the fleet. */
  readonly role: Role
  /** Granted over the whole fleet; null for those who belong to groups only. Such a caller sees every group. */
  readonly fleetRole: Role | null
  readonly via: 'token' | 'session' | 'certificate' | 'network' | 'system'
  /** When the credential ends by itself; absent when it does not. */
  readonly until?: Date
  /** Null for what the control plane does by itself. */
  readonly request: RequestMark | null
  /** Where the request carries an `Idempotency-Key`. */
  readonly key?: KeyHold
}

/** The group that exists from the first migration on; single-tenant fleets never need another. */
export const DEFAULT_GROUP_ID = '00000000-0000-7000-8000-000000000001'

/** A caller with a role over the whole fleet, who acts for the default group. */
export function fleetCaller(who: Pick<Caller, 'subject' | 'via'> & { readonly role: Role }): Caller {
  return { ...who, userId: null, groupId: DEFAULT_GROUP_ID, fleetRole: who.role, request: null }
}

export const SYSTEM_CALLER: Caller = fleetCaller({ subject: 'system', role: 'admin', via: 'system' })

export function atLeast(role: Role | null, wanted: Role): boolean {
  return role !== null && ROLES.indexOf(role) >= ROLES.indexOf(wanted)
}

export function hasRole(caller: Caller, role: Role): boolean {
  return atLeast(caller.role, role)
}

/** @throws forbidden unless the caller has at least `role` in the group that is acted for. */
export function requireRole(caller: Caller, role: Role): void {
  if (!hasRole(caller, role))
    throw new FleetError('forbidden', `this needs the role '${role}'; you have '${caller.role}'`)
}

/** For what belongs to no tenant: hosts, users, audit. @throws forbidden unless the caller has at least `role` over the fleet. */
export function requireFleetRole(caller: Caller, role: Role): void {
  if (!atLeast(caller.fleetRole, role)) {
    throw new FleetError('forbidden', `this needs the role '${role}' over the whole fleet`)
  }
}

/** What lists and look-ups by id are filtered by: one group, or null for every one. */
export function visibleGroup(caller: Caller): string | null {
  return caller.fleetRole === null ? caller.groupId : null
}

/** The caller acting for the group of something it may see. Elsewhere than where it acts now, only its role over the fleet counts. */
export function actingFor(caller: Caller, groupId: string): Caller {
  if (groupId === caller.groupId || caller.fleetRole === null) return caller
  return { ...caller, groupId, role: caller.fleetRole }
}
