import { hash, randomBytes } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { type Caller, type RequestMark, requireFleetRole } from './caller.ts'
import type { Host } from './hosts.ts'

/** A permission to become a host of that name, once. */
export interface Enrolment {
  readonly id: string
  readonly name: string
  readonly expiresAt: Date
  /** A host of that name is there already: it loses its credentials the moment this is used. */
  readonly replaces: boolean
}

/** Public halves only: an agent's private keys never leave it. */
export interface AgentKeys {
  /** Of the nkey pair that NATS will know it by. */
  readonly natsPublicKey: string
  /** X25519, 32 bytes: what secrets for it are sealed to. */
  readonly sealPublicKey: Buffer
}

export interface Enrolled {
  readonly host: { readonly id: string; readonly name: string }
  readonly jwt: string
  readonly expiresAt: Date
  /** Where agents find NATS, and the authority of its certificates where that is not a public one. */
  readonly natsUrls: readonly string[]
  readonly ca: string | undefined
}

/**
 * Who may be a host. Issuing, changing and revoking need a role over the fleet.
 * All throw unavailable where NATS is not ours to issue credentials for.
 */
export interface Enrolments {
  /** @returns the token beside it: shown this once, kept as a hash. @throws forbidden, invalid. */
  create(
    caller: Caller,
    request: { readonly name: string; readonly expiresInSeconds?: number | undefined },
  ): Promise<{ readonly enrolment: Enrolment; readonly token: string }>
  /**
   * Turns a token into credentials. A repeat with the same keys gets them again, while the token lasts.
   * @throws unauthorized (unknown, expired or revoked), conflict (used with other keys), invalid (`name`, `nats_public_key`), busy.
   */
  redeem(
    request: AgentKeys & { readonly token: string; readonly name?: string | undefined },
    mark: RequestMark,
  ): Promise<Enrolled>
  /** Asks a host's agent to change to a new key now. @throws not_found; conflict when it has no credentials; unavailable when it is offline. */
  rotate(caller: Caller, idOrName: string): Promise<Host>
  /** Takes a host's credentials away; its live connections end. @throws not_found. */
  revoke(caller: Caller, idOrName: string): Promise<Host>
}

/** What Postgres knows of a token. */
export interface KeptEnrolment {
  readonly id: string
  readonly name: string
  readonly isExpired: boolean
  /** Null: nobody has used it. */
  readonly used: AgentKeys | null
  /** Whether the credentials that it gave still hold. */
  readonly holds: boolean
}

export interface NewCredential extends AgentKeys {
  readonly host: string
  readonly expiresAt: Date
}

/** What Postgres must do for enrolments; every change is written with its audit. */
export interface EnrolmentStore {
  create(
    caller: Caller,
    made: Omit<Enrolment, 'replaces'> & { readonly hash: Buffer },
  ): Promise<{ readonly replaces: boolean }>
  /**
   * Locks the token, lets `decide` look at it, and keeps what it answers in one transaction: the host, its new key, the
   * revocation of its old ones, the token's use.
   */
  redeem(
    hash: Buffer,
    mark: RequestMark,
    decide: (found: KeptEnrolment | undefined) => NewCredential,
  ): Promise<{ readonly hostId: string; readonly revoked: number }>
  /** @returns how many credentials it had. */
  revoke(caller: Caller, host: Pick<Host, 'id' | 'name'>): Promise<number>
  /** Writes down that it was asked for. */
  rotationAsked(caller: Caller, host: Pick<Host, 'id' | 'name'>): Promise<void>
}

/** How NATS is told. */
export interface CredentialIssuer {
  agentCredential(agent: {
    readonly host: string
    readonly publicKey: string
    readonly expiresAt: Date
  }): Promise<string>
  /** When a credential that is issued now ends. */
  nextExpiry(): Date
  readonly natsUrls: readonly string[]
  readonly ca: string | undefined
  /** Makes NATS turn away whom Postgres says was revoked. What fails is tried again by the sweep. */
  enforce(): Promise<void>
  /** @throws unavailable when the agent does not answer. */
  askToRotate(host: string): Promise<void>
}

const EXPIRES_DEFAULT_S = 3_600
const TOKEN_BYTES = 32
/** Paths of our own stand beside hosts' names. */
const RESERVED_NAMES = new Set(['enrol', 'enrolments'])

const UNKNOWN = 'the enrolment token is not known'

export function createEnrolments(deps: {
  readonly store: EnrolmentStore
  /** Absent: NATS is somebody else's. */
  readonly issuer: CredentialIssuer | undefined
  readonly get: (idOrName: string) => Promise<Host>
  /** Counts a failed try of one address. @throws busy after too many. */
  readonly limit: { begin(address: string): Promise<void>; succeed(address: string): Promise<void> }
}): Enrolments {
  const { store, limit } = deps

  function requireIssuer(): CredentialIssuer {
    if (deps.issuer) return deps.issuer
    const message = 'agents are not enrolled here: the control plane has no authority over NATS (NATS_AUTHORITY_FILE)'
    throw new FleetError('unavailable', message)
  }

  return {
    async create(caller, { name, expiresInSeconds = EXPIRES_DEFAULT_S }) {
      requireFleetRole(caller, 'admin')
      requireIssuer()
      if (RESERVED_NAMES.has(name)) throw new FleetError('invalid', 'name: is reserved', { field: 'name' })
      const token = randomBytes(TOKEN_BYTES).toString('base64url')
      const made = { id: newId(), name, expiresAt: new Date(Date.now() + expiresInSeconds * 1000) }
      const { replaces } = await store.create(caller, { ...made, hash: hashOf(token) })
      return { enrolment: { ...made, replaces }, token }
    },

    async redeem({ token, name, ...keys }, mark) {
      const issuer = requireIssuer()
      await limit.begin(mark.address)
      const expiresAt = issuer.nextExpiry()
      let host = ''
      const { hostId, revoked } = await store.redeem(hashOf(token), mark, (found) => {
        host = hostOf(found, { keys, name })
        return { ...keys, host, expiresAt }
      })
      await limit.succeed(mark.address)
      if (revoked > 0) await issuer.enforce()
      const jwt = await issuer.agentCredential({ host, publicKey: keys.natsPublicKey, expiresAt })
      return { host: { id: hostId, name: host }, jwt, expiresAt, natsUrls: issuer.natsUrls, ca: issuer.ca }
    },

    async rotate(caller, idOrName) {
      requireFleetRole(caller, 'admin')
      const issuer = requireIssuer()
      const host = await deps.get(idOrName)
      if (host.credentialExpiresAt === null)
        throw new FleetError('conflict', `host '${host.name}' has no credentials: enrol it`)
      await issuer.askToRotate(host.name)
      await store.rotationAsked(caller, host)
      return host
    },

    async revoke(caller, idOrName) {
      requireFleetRole(caller, 'admin')
      const issuer = requireIssuer()
      const host = await deps.get(idOrName)
      await store.revoke(caller, host)
      await issuer.enforce()
      return deps.get(host.id)
    },
  }
}

/** A token is 256 random bits: looking its hash up tells nothing about others. */
function hashOf(token: string): Buffer {
  return hash('sha256', token, 'buffer')
}

/** The name that the token is for. @throws unauthorized, conflict, invalid. */
function hostOf(
  found: KeptEnrolment | undefined,
  asked: { readonly keys: AgentKeys; readonly name: string | undefined },
): string {
  if (found === undefined) throw new FleetError('unauthorized', UNKNOWN)
  if (found.isExpired) throw new FleetError('unauthorized', 'the enrolment token has expired: ask for a new one')
  if (asked.name !== undefined && asked.name !== found.name) {
    throw new FleetError('invalid', `name: the token is for the host '${found.name}'`, { field: 'name' })
  }
  if (found.used === null) return found.name
  const isRepeat =
    found.used.natsPublicKey === asked.keys.natsPublicKey && found.used.sealPublicKey.equals(asked.keys.sealPublicKey)
  if (!isRepeat) throw new FleetError('conflict', 'the enrolment token was used already, by another agent')
  if (!found.holds)
    throw new FleetError('unauthorized', 'what this enrolment token gave was revoked: ask for a new one')
  return found.name
}
