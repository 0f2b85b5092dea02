import type { Caller } from '../../control-plane/core/caller.ts'
import { createGroups, type Group, type GroupStore } from '../../control-plane/core/groups.ts'
import type { Listing, ListRequest } from '../../control-plane/core/query.ts'
import { type AccessToken, type AccessTokenStore, createTokens } from '../../control-plane/core/tokens.ts'
import { createUsers, type User, type UserStore } from '../../control-plane/core/users.ts'
import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'

interface Kept {
  readonly id: string
  readonly documentId: string
  readonly name: string
  readonly version: number
}

/** Rows in memory, with versions and unique names. Filters and order are SQL's business: a list shows everything visible. */
function createShelf<Thing extends Kept>() {
  const rows = new Map<string, Thing>()

  function requireFree(name: string, besides: string | undefined): void {
    for (const row of rows.values()) {
      if (row.name !== name || row.id === besides) continue
      throw new FleetError('exists', `value '${name}' is not unique`, { field: 'name' })
    }
  }

  return {
    rows,
    find: (id: string) => rows.get(id),
    list(shown: readonly Thing[], { offset, limit }: ListRequest): Listing<Thing> {
      return { items: shown.slice(offset, offset + limit), total: shown.length }
    },
    make(fields: Omit<Thing, 'id' | 'documentId' | 'version' | 'createdAt' | 'updatedAt'>): Thing {
      const id = newId()
      const bare = id.replaceAll('-', '')
      const at = new Date()
      const made = { id, documentId: bare.slice(0, 12) + bare.slice(-12), version: 1, createdAt: at, updatedAt: at }
      // as: the two halves are a Thing, which the compiler cannot see of a type parameter
      const thing = { ...made, ...fields } as unknown as Thing
      requireFree(thing.name, undefined)
      rows.set(thing.documentId, thing)
      return thing
    },
    change(thing: Thing, change: Partial<Thing>): Thing | undefined {
      if (rows.get(thing.documentId)?.version !== thing.version) return undefined
      if (change.name !== undefined) requireFree(change.name, thing.id)
      const given = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined))
      const changed = { ...thing, ...given, version: thing.version + 1 }
      rows.set(thing.documentId, changed)
      return changed
    },
    remove(thing: Thing): Thing | undefined {
      if (rows.get(thing.documentId)?.version !== thing.version) return undefined
      rows.delete(thing.documentId)
      return thing
    },
  }
}

/** Users, groups and tokens in memory under core's own rules. */
export function createFakeDirectory() {
  const users = createShelf<User>()
  const groups = createShelf<Group>()
  const tokens = createShelf<AccessToken>()

  const userStore: UserStore = {
    async find(id, sight) {
      const user = users.find(id)
      return sight.everyone || user?.id === sight.userId ? user : undefined
    },
    list: async (request, sight) =>
      users.list(
        [...users.rows.values()].filter((user) => sight.everyone || user.id === sight.userId),
        request,
      ),
    passwordOf: async () => null,
    create: async (_caller: Caller, { password, ...user }) => users.make({ ...user, hasPassword: password !== null }),
    change: async (_caller, user, { password, ...change }) =>
      users.change(user, { ...change, ...(password !== undefined && { hasPassword: password !== null }) }),
    delete: async (_caller, user) => users.remove(user),
  }

  const groupStore: GroupStore = {
    async find(id, groupId) {
      const group = groups.find(id)
      return groupId === null || group?.id === groupId ? group : undefined
    },
    list: async (request, groupId) =>
      groups.list(
        [...groups.rows.values()].filter((group) => groupId === null || group.id === groupId),
        request,
      ),
    async create(_caller, group) {
      requireUsers(group.members)
      return groups.make(group)
    },
    async change(_caller, group, change) {
      requireUsers(change.members ?? [])
      return groups.change(group, change)
    },
    async delete(_caller, group) {
      return groups.remove(group) && { leftovers: [] }
    },
  }

  function requireUsers(members: Group['members']): void {
    for (const { user } of members) {
      if (!users.rows.has(user))
        throw new FleetError('invalid', `users: there is no user '${user}'`, { field: 'users' })
    }
  }

  const tokenStore: AccessTokenStore = {
    async find(id, sight) {
      const token = tokens.find(id)
      return sight.everyone || (token?.owner && token.owner.id === sight.userId) ? token : undefined
    },
    list: async (request, sight) => tokens.list(sight.everyone ? [...tokens.rows.values()] : [], request),
    resolve: async ({ user, group }) => ({
      userId: user === null ? undefined : users.find(user)?.id,
      groupId: group === null ? undefined : groups.find(group)?.id,
    }),
    async create(_caller, { userId, groupId, hash: _, ...token }) {
      const owner = [...users.rows.values()].find(({ id }) => id === userId) ?? null
      const group = [...groups.rows.values()].find(({ id }) => id === groupId) ?? null
      return tokens.make({ ...token, owner, group, lastUsedAt: null })
    },
    change: async (_caller, token, change) => tokens.change(token, change),
    delete: async (_caller, token) => tokens.remove(token),
  }

  return {
    users: createUsers({
      store: userStore,
      passwords: { hash: async () => 'hashed', check: async () => true },
    }),
    groups: createGroups({ store: groupStore, discard: () => undefined }),
    tokens: createTokens({ store: tokenStore }),
  }
}
