import type { Audit } from '../core/audit.ts'
import { shownSecret } from '../core/credentials.ts'
import type { Sessions } from '../core/sessions.ts'
import type { PasswordRules } from '../core/users.ts'
import type { Sql } from '../db/sql.ts'
import { createCredentialStore } from '../db/stores/credential-store.ts'
import { createFirstAdminStore } from '../db/stores/first-admin-store.ts'
import { createLoginFailureStore } from '../db/stores/login-failure-store.ts'
import { createSessionStore } from '../db/stores/session-store.ts'
import { type CredentialCache, createCredentialCache } from './credentials.ts'
import { ensureAdmin } from './first-admin.ts'
import { createLoginLimiter } from './limiter.ts'
import { createSessions } from './login.ts'
import { createPasswordRules } from './password-rules.ts'

/** The name of the token that the first admin's file holds. */
const FIRST_TOKEN = 'admin'

/** What the file with the first credentials says. */
export interface FirstCredentials {
  readonly token: string
  readonly username?: string | undefined
  readonly password?: string | undefined
}

export interface Identity {
  readonly credentials: CredentialCache
  readonly sessions: Sessions
  readonly passwords: PasswordRules
  /** Lets in whoever knows these. */
  ensure(first: FirstCredentials): Promise<void>
  /** Drops what has expired. */
  prune(): Promise<void>
}

/** Everything about who asks. */
export function openIdentity(sql: Sql, audit: Pick<Audit, 'record'>): Identity {
  const store = createCredentialStore(sql)
  const credentials = createCredentialCache({ store })
  const sessionStore = createSessionStore(sql)
  const failures = createLoginFailureStore(sql)
  const limiter = createLoginLimiter({ store: failures })
  return {
    credentials,
    passwords: createPasswordRules(limiter),
    sessions: createSessions({ store: sessionStore, limiter, credentials, audit }),
    async ensure({ token, username, password }) {
      await store.ensure({ name: FIRST_TOKEN, id: shownSecret('token', token).id, role: 'admin' })
      if (username === undefined || password === undefined) return
      await ensureAdmin(createFirstAdminStore(sql), { username, password })
    },
    async prune() {
      await sessionStore.prune()
      await failures.prune()
    },
  }
}
