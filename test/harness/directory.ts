import { randomBytes } from 'node:crypto'
import type { ExecutionContext } from 'ava'
import { fleetCaller } from '../../control-plane/core/caller.ts'
import { createGroups } from '../../control-plane/core/groups.ts'
import { createTokens } from '../../control-plane/core/tokens.ts'
import { createUsers } from '../../control-plane/core/users.ts'
import { createAccessTokenStore } from '../../control-plane/db/stores/access-token-store.ts'
import { createGroupStore } from '../../control-plane/db/stores/group-store.ts'
import { createUserStore } from '../../control-plane/db/stores/user-store.ts'
import { openIdentity } from '../../control-plane/identity/open-identity.ts'
import { startDatabase } from './database.ts'
import { startListener } from './fake-listener.ts'

/** An admin of the fleet whom no row stands for. */
export const ROOT = fleetCaller({ subject: 'test', role: 'admin', via: 'system' })

/** The real directory, in a Postgres of this test's own. `discarded`: datasets that deleted groups left behind. */
export async function startDirectory(t: ExecutionContext, options: { readonly externalIdentity?: boolean } = {}) {
  const { db, sql } = await startDatabase(t)
  const identity = openIdentity(sql, { record: () => undefined })
  const discarded: string[] = []
  const { externalIdentity = false } = options
  return {
    db,
    sql,
    identity,
    discarded,
    users: createUsers({ store: createUserStore(sql), passwords: identity.passwords }),
    groups: createGroups({
      store: createGroupStore(sql, { externalIdentity }),
      discard: (dataset) => void discarded.push(dataset),
    }),
    tokens: createTokens({ store: createAccessTokenStore(sql) }),
  }
}

interface Asked {
  readonly as?: string | null
  readonly body?: unknown
  readonly headers?: Record<string, string>
}

/** The same behind a real listener with real credentials. `ask` shows a token: the first admin's unless told otherwise. */
export async function startDirectoryListener(t: ExecutionContext) {
  const directory = await startDirectory(t)
  const { users, groups, tokens, identity } = directory
  const admin = randomBytes(32).toString('hex')
  await identity.ensure({ token: admin })
  const { credentials } = identity
  const { url, ...listener } = await startListener(t, { core: { users, groups, tokens }, credentials })

  async function ask(method: string, path: string, { as = admin, body, headers = {} }: Asked = {}) {
    const authorization = as === null ? {} : { authorization: `Bearer ${as}` }
    const reply = await listener.ask(method, path, { as: null, body, headers: { ...authorization, ...headers } })
    // Replicas hear of changes from Postgres; here nobody listens.
    if (method !== 'GET') credentials.drop()
    return reply
  }
  return { ...directory, url, admin, ask }
}
