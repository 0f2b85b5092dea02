import { hash, randomBytes } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import { atLeast, type Caller, type Role } from './caller.ts'
import { type Condition, requireCondition } from './condition.ts'
import type { FieldKinds, Listing, ListRequest } from './query.ts'
import {
  requireNoLongerLife,
  requireRevocationRight,
  requireTokenRight,
  type TokenScope,
  type TokenSight,
  tokenSight,
} from './token-rules.ts'
import { changeVersion } from './version-change.ts'

/** One end of a token: the user it belongs to or the group it is for. */
export interface TokenEnd {
  readonly id: string
  readonly documentId: string
}

export interface AccessToken {
  readonly id: string
  readonly documentId: string
  /** Unique among the tokens of the same owner and group. */
  readonly name: string
  /** The most it may do; with an owner also never more than that user may at the moment. */
  readonly role: Role
  /** Null: a service's. */
  readonly owner: TokenEnd | null
  /** Null: for every group its owner may act for, or without an owner for the whole fleet. */
  readonly group: TokenEnd | null
  readonly tags: Readonly<Record<string, string>>
  readonly expiresAt: Date | null
  /** Told without a change of version. */
  readonly lastUsedAt: Date | null
  readonly version: number
  readonly createdAt: Date
  readonly updatedAt: Date
}

export const TOKEN_FIELDS = {
  id: 'text',
  name: 'text',
  role: 'text',
  owner: 'text',
  group: 'text',
  tags: 'map',
  expiresAt: 'time',
  lastUsedAt: 'time',
  createdAt: 'time',
  updatedAt: 'time',
} as const satisfies FieldKinds
export type TokenField = keyof typeof TOKEN_FIELDS

export interface NewToken {
  readonly name: string
  /** The caller's own when absent. */
  readonly role?: Role | undefined
  /** A document id, or null for a service; the caller itself when absent. */
  readonly owner?: string | null | undefined
  /** A document id, or null for no one group; when absent null for who has a role over the fleet, else the group acted for. */
  readonly group?: string | null | undefined
  readonly tags: Readonly<Record<string, string>>
  readonly expiresAt: Date | null
}

/** What is absent stays as it is. Owner and group never change. */
export type TokenChange = Partial<Pick<AccessToken, 'name' | 'role' | 'tags' | 'expiresAt'>>

/** A token with its secret, which nobody can tell again. */
export interface IssuedToken {
  readonly token: AccessToken
  readonly secret: string
}

/** Tokens by their document ids. Which a caller may not see is absent. */
export interface Tokens {
  /** @throws forbidden, exists, invalid (`field` user or usergroup: one that does not exist). */
  create(caller: Caller, token: NewToken): Promise<IssuedToken>
  /** @throws not_found. */
  get(caller: Caller, id: string): Promise<AccessToken>
  list(caller: Caller, request: ListRequest<TokenField>): Promise<Listing<AccessToken>>
  /** @throws not_found, forbidden, stale, exists, conflict (see Users.change). */
  change(
    caller: Caller,
    id: string,
    decide: (token: AccessToken) => TokenChange,
    ifMatch?: Condition<AccessToken>,
  ): Promise<AccessToken>
  /** Revokes it, on every replica. @throws not_found, forbidden, stale, conflict. */
  delete(caller: Caller, id: string, ifMatch?: Condition<AccessToken>): Promise<void>
}

/** A token about to be made; `hash` is SHA-256 of its secret. */
export interface KeptToken extends TokenScope, Pick<AccessToken, 'name' | 'tags' | 'expiresAt'> {
  readonly hash: Buffer
}

/** What Postgres must do for tokens. Changes are written only to the version they were decided on, with their audit. */
export interface AccessTokenStore {
  find(id: string, sight: TokenSight): Promise<AccessToken | undefined>
  list(request: ListRequest<TokenField>, sight: TokenSight): Promise<Listing<AccessToken>>
  /** The uuids of a user and a group; undefined for one that is not there. */
  resolve(ends: {
    readonly user: string | null
    readonly group: string | null
  }): Promise<{ readonly userId: string | undefined; readonly groupId: string | undefined }>
  /** @throws exists, invalid. */
  create(caller: Caller, token: KeptToken): Promise<AccessToken>
  /** @returns undefined when it has another version by now. @throws exists, conflict. */
  change(caller: Caller, token: AccessToken, change: TokenChange): Promise<AccessToken | undefined>
  /** @returns undefined when it has another version by now. @throws conflict. */
  delete(caller: Caller, token: AccessToken): Promise<AccessToken | undefined>
}

/** The prefix tells scanners of leaked secrets, and people, what it is. */
const SECRET_PREFIX = 'hf_'
const SECRET_BYTES = 32

export function createTokens(deps: { readonly store: AccessTokenStore }): Tokens {
  const { store } = deps

  async function get(caller: Caller, id: string): Promise<AccessToken> {
    const token = await store.find(id, tokenSight(caller))
    if (token === undefined) throw new FleetError('not_found', `there is no token '${id}'`)
    return token
  }

  /** Who is not an admin of the fleet learns nothing of users and groups that are not its own. */
  async function scopeOf(caller: Caller, { owner, group, role = caller.role }: NewToken): Promise<TokenScope> {
    const found = await store.resolve({ user: owner ?? null, group: group ?? null })
    const isAdmin = atLeast(caller.fleetRole, 'admin')
    const usualGroup = caller.fleetRole === null ? caller.groupId : null
    const scope = {
      userId: owner === undefined ? caller.userId : owner === null ? null : (found.userId ?? UNKNOWN),
      groupId: group === undefined ? usualGroup : group === null ? null : (found.groupId ?? UNKNOWN),
      role,
    }
    if (!isAdmin && scope.groupId !== null && scope.groupId !== caller.groupId) {
      throw new FleetError('forbidden', 'you may make tokens for the group that you act for')
    }
    requireTokenRight(caller, scope)
    if (scope.userId === UNKNOWN) throw absent('user', owner)
    if (scope.groupId === UNKNOWN) throw absent('usergroup', group)
    return scope
  }

  return {
    get,
    list: (caller, request) => store.list(request, tokenSight(caller)),

    async create(caller, asked) {
      const scope = await scopeOf(caller, asked)
      if (asked.expiresAt !== null && asked.expiresAt <= new Date()) {
        throw new FleetError('invalid', 'expires_at: is over already', { field: 'expires_at' })
      }
      requireNoLongerLife(caller, asked.expiresAt)
      const secret = `${SECRET_PREFIX}${randomBytes(SECRET_BYTES).toString('base64url')}`
      const { name, tags, expiresAt } = asked
      const kept = { ...scope, name, tags, expiresAt, hash: hash('sha256', secret, 'buffer') }
      return { token: await store.create(caller, kept), secret }
    },

    change(caller, id, decide, ifMatch) {
      return changeVersion(
        async () => {
          const token = await get(caller, id)
          requireTokenRight(caller, scopeOfToken(token))
          requireCondition(ifMatch, token)
          return token
        },
        (token) => {
          const change = decide(token)
          const { role = token.role, expiresAt = token.expiresAt } = change
          requireTokenRight(caller, { ...scopeOfToken(token), role })
          const isWider = role !== token.role || expiresAt?.getTime() !== token.expiresAt?.getTime()
          if (isWider) requireNoLongerLife(caller, expiresAt)
          return store.change(caller, token, change)
        },
      )
    },

    async delete(caller, id, ifMatch) {
      await changeVersion(
        async () => {
          const token = await get(caller, id)
          requireRevocationRight(caller, scopeOfToken(token))
          requireCondition(ifMatch, token)
          return token
        },
        (token) => store.delete(caller, token),
      )
    },
  }
}

/** No uuid: stands for what was named and is not there. */
const UNKNOWN = ''

function absent(field: string, id: string | null | undefined): FleetError {
  return new FleetError('invalid', `${field}: there is no '${id}'`, { field })
}

function scopeOfToken({ owner, group, role }: AccessToken): TokenScope {
  return { userId: owner?.id ?? null, groupId: group?.id ?? null, role }
}
