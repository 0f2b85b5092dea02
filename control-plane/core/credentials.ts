import { hash } from 'node:crypto'
import type { Caller, Role } from './caller.ts'

/** A credential as a request shows it, without its secret: `id` is what it is looked up and remembered by. */
export type Shown =
  /** `id`: SHA-256 of the secret, in hex. */
  | { readonly kind: 'token' | 'session'; readonly id: string }
  /** Verified against the authority. `names`: what it says of its bearer, as `user_certificate` spells it. */
  | { readonly kind: 'certificate'; readonly id: string; readonly names: readonly string[] }
  /** `id`: the network. */
  | { readonly kind: 'network'; readonly id: string; readonly role: Role }

/** A secret is 256 random bits: a plain hash of it needs neither salt nor stretching, and comparing hashes tells nothing. */
export function shownSecret(kind: 'token' | 'session', secret: string): Shown {
  return { kind, id: hash('sha256', secret, 'hex') }
}

export interface Credentials {
  /**
   * Who shows `shown`, acting for the group that `group` names (its name or id; absent: the usual one).
   * At most a second old. Its `request` is null.
   * @throws unauthorized: unknown, expired, revoked, or of a disabled user; forbidden: no role there; unavailable.
   */
  find(shown: Shown, group: string | undefined): Promise<Caller>
  /** Calls `listener` whenever rights may have changed, so that what goes on for long is looked at anew. */
  onChange(listener: () => void): void
}
