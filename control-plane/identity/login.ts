import { randomBytes } from 'node:crypto'
import { FleetError, toFleetError } from '../../shared/errors.ts'
import { type Audit, type AuditEntry, anonymous } from '../core/audit.ts'
import { hasRole, type RequestMark } from '../core/caller.ts'
import { type Credentials, shownSecret } from '../core/credentials.ts'
import type { Session, Sessions } from '../core/sessions.ts'
import type { KeptSession, SessionStore } from '../db/stores/session-store.ts'
import type { Attempt, LoginLimiter } from './limiter.ts'
import { verifyPassword } from './passwords.ts'

const SECRET_BYTES = 32

function wrong(): FleetError {
  return new FleetError('unauthorized', 'the username or the password is wrong')
}

function noSession(): FleetError {
  return new FleetError('unauthorized', 'there is no such session: log in')
}

export function createSessions(deps: {
  readonly store: SessionStore
  readonly limiter: LoginLimiter
  readonly credentials: Credentials & { drop(): void }
  readonly audit: Pick<Audit, 'record'>
}): Sessions {
  const { store, limiter, credentials, audit } = deps

  /** @returns the user and the hash that fitted. @throws unauthorized; busy. */
  async function checkPassword(attempt: Attempt, password: string, request: RequestMark) {
    const account = await store.account(attempt.username)
    const kept = account === undefined || account.disabled ? null : account.password
    // Also when nobody is there to compare with, so that both take the same time.
    const matches = await verifyPassword(password, kept)
    if (matches && kept !== null && account !== undefined) return { id: account.id, password: kept }
    audit.record(refusedLogin(request, account && { id: account.id, name: attempt.username }))
    throw wrong()
  }

  async function describe(secret: string, { user, created_at: since }: KeptSession): Promise<Session> {
    const caller = await credentials.find(shownSecret('session', secret), undefined).catch((error: unknown) => {
      // Somebody without a role anywhere may log in all the same, and is told so by whatever is asked next.
      if (error instanceof FleetError && error.code === 'forbidden') return undefined
      throw error
    })
    return { username: user, isAdmin: caller !== undefined && hasRole(caller, 'admin'), since }
  }

  return {
    async login({ username, password }, request) {
      const attempt = { username, address: request.address }
      const refusal = await limiter.begin(attempt)
      if (refusal !== undefined) return { ok: false, ...refusal }
      const user = await checkPassword(attempt, password, request).catch(async (error: unknown) => {
        // What could not be compared was no guess.
        if (toFleetError(error).code !== 'unauthorized') await limiter.forget(attempt)
        throw error
      })
      await limiter.succeed(attempt)
      const secret = randomBytes(SECRET_BYTES).toString('base64url')
      const told = loginOf({ id: user.id, name: username }, request)
      if (!(await store.open(shownSecret('session', secret).id, user, told))) throw wrong()
      return { ok: true, secret, session: await describe(secret, { user: username, created_at: new Date() }) }
    },

    async refresh(secret) {
      const kept = await store.prolong(shownSecret('session', secret).id)
      if (kept === undefined) throw noSession()
      return describe(secret, kept)
    },

    async logout(secret, request) {
      const kept = await store.close(shownSecret('session', secret).id, request)
      // The others hear of it from Postgres.
      credentials.drop()
      if (kept === undefined) throw noSession()
      return { username: kept.user }
    },
  }
}

interface Named {
  readonly id: string
  readonly name: string
}

function loginOf(user: Named, request: RequestMark): AuditEntry {
  const by = { subject: `user:${user.name}`, userId: user.id, groupId: null, via: 'session', request } as const
  return { by, operation: 'session.login', object: { kind: 'user', ...user }, result: 'done' }
}

/** A name that is nobody's is not kept: it may be a password in the wrong field. */
function refusedLogin(request: RequestMark, user: Named | undefined): AuditEntry {
  const object = { kind: 'user', ...(user ?? {}) }
  return { by: anonymous(request), operation: 'session.login', object, result: 'refused', code: 'unauthorized' }
}
