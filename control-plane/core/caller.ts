import { FleetError } from '../../shared/errors.ts'

export const ROLES = ['viewer', 'operator', 'admin'] as const
export type Role = (typeof ROLES)[number]

/** Who asks. Every core operation takes one; `via` tells which credential it was (the browser rules depend on it). */
export interface Caller {
  /** For audit and `job.created_by`: a token's name, `network:127.0.0.0/8`, `system`. */
  readonly subject: string
  readonly role: Role
  /** The tenant whose resources are seen and made. */
  readonly groupId: string
  readonly via: 'token' | 'network' | 'system'
}

/** The group that exists from the first migration on; single-tenant fleets never need another. */
export const DEFAULT_GROUP_ID = '00000000-0000-7000-8000-000000000001'

export const SYSTEM_CALLER: Caller = { subject: 'system', role: 'admin', groupId: DEFAULT_GROUP_ID, via: 'system' }

export function hasRole(caller: Caller, role: Role): boolean {
  return ROLES.indexOf(caller.role) >= ROLES.indexOf(role)
}

/** @throws forbidden unless the caller has at least `role`. */
export function requireRole(caller: Caller, role: Role): void {
  if (!hasRole(caller, role))
    throw new FleetError('forbidden', `this needs the role '${role}'; you have '${caller.role}'`)
}
