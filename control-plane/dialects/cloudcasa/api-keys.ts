import { FleetError } from '../../../shared/errors.ts'
import type { AccessToken, TokenField } from '../../core/tokens.ts'
import { showDate } from './dates.ts'
import { documentRoutes } from './documents.ts'
import { listRoute } from './lists.ts'
import { mergeTags, type Resource } from './resource.ts'
import { ApiKeyBodies, ApiKeyView } from './schemas.ts'

const apiKeys: Resource<AccessToken, TokenField, typeof ApiKeyBodies> = {
  collection: 'apikeys',
  title: 'Apikey',
  noun: 'ApiKey',
  view: ApiKeyView,
  bodies: ApiKeyBodies,
  fields: {
    _id: { name: 'id', kind: 'text' },
    name: { name: 'name', kind: 'text' },
    role: { name: 'role', kind: 'text' },
    user: { name: 'owner', kind: 'text' },
    usergroup: { name: 'group', kind: 'text' },
    expires_at: { name: 'expiresAt', kind: 'time' },
    last_used_at: { name: 'lastUsedAt', kind: 'time' },
    tags: { name: 'tags', kind: 'map' },
    _created: { name: 'createdAt', kind: 'time' },
    _updated: { name: 'updatedAt', kind: 'time' },
  },
  access: { create: 'viewer', change: 'viewer', delete: 'viewer' },
  of: (core) => core.tokens,

  present: ({ name, role, owner, group, expiresAt, lastUsedAt, tags }) => ({
    name,
    role,
    user: owner?.documentId ?? null,
    usergroup: group?.documentId ?? null,
    expires_at: expiresAt && showDate(expiresAt),
    last_used_at: lastUsedAt && showDate(lastUsedAt),
    tags,
    status: expiresAt !== null && expiresAt.getTime() <= Date.now() ? 'EXPIRED' : 'ACTIVE',
  }),

  async create(core, caller, { name, role, user, usergroup, expires_at: expiresAt = null, tags = {} }) {
    const { token, secret } = await core.tokens.create(caller, {
      name,
      role,
      owner: user,
      group: usergroup,
      expiresAt,
      tags,
    })
    return { thing: token, shownOnce: { token: secret } }
  },

  replace: (core, { caller, id, body, ifMatch }) =>
    core.tokens.change(
      caller,
      id,
      (token) => {
        requireSameEnds(token, body)
        const { name, role, expires_at: expiresAt = null, tags = {} } = body
        return { name, expiresAt, tags, ...(role !== undefined && { role }) }
      },
      ifMatch,
    ),

  edit: (core, { caller, id, body, ifMatch }) =>
    core.tokens.change(
      caller,
      id,
      (token) => {
        requireSameEnds(token, body)
        const { name, role, expires_at: expiresAt } = body
        const tags = mergeTags(token.tags, body.tags)
        return {
          ...(name !== undefined && { name }),
          ...(role !== undefined && { role }),
          ...(expiresAt !== undefined && { expiresAt }),
          ...(tags !== undefined && { tags }),
        }
      },
      ifMatch,
    ),
}

/** Whose it is and what it is for are for life. @throws invalid. */
function requireSameEnds(
  { owner, group }: AccessToken,
  { user, usergroup }: { readonly user?: string | null | undefined; readonly usergroup?: string | null | undefined },
): void {
  for (const [field, given, kept] of [
    ['user', user, owner],
    ['usergroup', usergroup, group],
  ] as const) {
    if (given === undefined || given === (kept?.documentId ?? null)) continue
    throw new FleetError('invalid', `${field}: never changes`, { field })
  }
}

export const apiKeyRoutes = [listRoute(apiKeys), ...documentRoutes(apiKeys)]
