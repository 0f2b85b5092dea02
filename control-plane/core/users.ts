import { isDeepStrictEqual } from 'node:util'
import { FleetError } from '../../shared/errors.ts'
import { atLeast, type Caller, hasRole, type Role, requireFleetRole } from './caller.ts'
import { type Condition, requireCondition } from './condition.ts'
import type { FieldKinds, Listing, ListRequest } from './query.ts'
import { changeVersion } from './version-change.ts'

export interface User {
  readonly id: string
  readonly documentId: string
  /** Unique over the fleet. */
  readonly name: string
  /** Over the whole fleet; null for those who belong to groups only. */
  readonly role: Role | null
  readonly disabled: boolean
  /** Whether somebody may log in with a password. */
  readonly hasPassword: boolean
  /** The client certificates that stand for this user. */
  readonly certificates: readonly string[]
  readonly tags: Readonly<Record<string, string>>
  readonly version: number
  readonly createdAt: Date
  readonly updatedAt: Date
}

export const USER_FIELDS = {
  id: 'text',
  name: 'text',
  role: 'text',
  disabled: 'boolean',
  certificates: 'set',
  tags: 'map',
  createdAt: 'time',
  updatedAt: 'time',
} as const satisfies FieldKinds
export type UserField = keyof typeof USER_FIELDS

export interface NewUser extends Pick<User, 'name' | 'role' | 'disabled' | 'certificates' | 'tags'> {
  /** Null: no password ever fits. */
  readonly password: string | null
}

/** What is absent stays as it is. */
export interface UserChange extends Partial<NewUser> {
  /** Needed by those who change their own password. */
  readonly currentPassword?: string | undefined
}

/** Users by their document ids. Whom a caller may not see is absent. */
export interface Users {
  /** @throws forbidden, exists (`field` name or certificates), busy. */
  create(caller: Caller, user: NewUser): Promise<User>
  /** @throws not_found. */
  get(caller: Caller, id: string): Promise<User>
  list(caller: Caller, request: ListRequest<UserField>): Promise<Listing<User>>
  /**
   * @param decide says what to change of the user as it is; asked again when it has become another meanwhile.
   * @throws not_found, forbidden, stale, exists, busy; invalid for a wrong current password; conflict when nobody would
   * be left who may administer the fleet.
   */
  change(caller: Caller, id: string, decide: (user: User) => UserChange, ifMatch?: Condition<User>): Promise<User>
  /** Its sessions, tokens and memberships end with it. @throws not_found, forbidden, stale, conflict (the last admin). */
  delete(caller: Caller, id: string, ifMatch?: Condition<User>): Promise<void>
}

/** Whom a caller may see: everybody, or the members of one group and one more. */
export type UserSight =
  | { readonly everyone: true }
  | { readonly everyone: false; readonly groupId: string | null; readonly userId: string | null }

/** With `password` as its hash. */
export type KeptUserChange = Partial<NewUser>

/** What Postgres must do for users. Changes are written only to the version they were decided on, with their audit. */
export interface UserStore {
  find(id: string, sight: UserSight): Promise<User | undefined>
  list(request: ListRequest<UserField>, sight: UserSight): Promise<Listing<User>>
  passwordOf(user: User): Promise<string | null>
  /** @throws exists. */
  create(caller: Caller, user: NewUser): Promise<User>
  /** @returns undefined when it has another version by now. @throws exists, conflict. */
  change(caller: Caller, user: User, change: KeptUserChange): Promise<User | undefined>
  /** @returns undefined when it has another version by now. @throws conflict. */
  delete(caller: Caller, user: User): Promise<User | undefined>
}

export interface PasswordRules {
  /** @throws busy. */
  hash(password: string): Promise<string>
  /** Counts failures of one user from one address. @throws busy, also after too many. */
  check(
    attempt: { readonly user: User; readonly password: string; readonly caller: Caller },
    hash: string | null,
  ): Promise<boolean>
}

export function createUsers(deps: { readonly store: UserStore; readonly passwords: PasswordRules }): Users {
  const { store, passwords } = deps

  async function get(caller: Caller, id: string): Promise<User> {
    const user = await store.find(id, userSight(caller))
    if (user === undefined) throw new FleetError('not_found', `there is no user '${id}'`)
    return user
  }

  async function expect(caller: Caller, id: string, ifMatch: Condition<User> | undefined): Promise<User> {
    const user = await get(caller, id)
    requireCondition(ifMatch, user)
    return user
  }

  /** Who is no admin of the fleet may change one thing: its own password, and shows the old one for it. */
  async function requireOwnPassword(caller: Caller, user: User, change: UserChange): Promise<void> {
    const forbidden = new FleetError('forbidden', "this needs the role 'admin' over the whole fleet")
    if (user.id !== caller.userId || !changesOnlyPassword(user, change)) throw forbidden
    if (change.password === null || !user.hasPassword) throw forbidden
    const field = 'current_password'
    if (change.currentPassword === undefined) throw new FleetError('invalid', `${field}: is required`, { field })
    const attempt = { user, password: change.currentPassword, caller }
    if (await passwords.check(attempt, await store.passwordOf(user))) return
    throw new FleetError('invalid', `${field}: is wrong`, { field })
  }

  return {
    get,
    list: (caller, request) => store.list(request, userSight(caller)),

    async create(caller, user) {
      requireFleetRole(caller, 'admin')
      return store.create(caller, { ...user, password: user.password && (await passwords.hash(user.password)) })
    },

    change(caller, id, decide, ifMatch) {
      return changeVersion(
        () => expect(caller, id, ifMatch),
        async (user) => {
          const asked = decide(user)
          if (!atLeast(caller.fleetRole, 'admin')) await requireOwnPassword(caller, user, asked)
          const { currentPassword, ...change } = asked
          if (!change.password) return store.change(caller, user, change)
          return store.change(caller, user, { ...change, password: await passwords.hash(change.password) })
        },
      )
    },

    async delete(caller, id, ifMatch) {
      const found = await get(caller, id)
      requireFleetRole(caller, 'admin')
      requireCondition(ifMatch, found)
      await changeVersion(
        () => expect(caller, id, ifMatch),
        (user) => store.delete(caller, user),
      )
    },
  }
}

/** Everybody may see itself, and admins of a group its members. */
export function userSight(caller: Caller): UserSight {
  if (caller.fleetRole !== null) return { everyone: true }
  return { everyone: false, groupId: hasRole(caller, 'admin') ? caller.groupId : null, userId: caller.userId }
}

/** Whether the rest of `change` is what the user has already. */
function changesOnlyPassword(user: User, { password, currentPassword, ...rest }: UserChange): boolean {
  const { name, role, disabled, certificates, tags } = user
  const asIs = { name, role, disabled, certificates, tags }
  return password !== undefined && isDeepStrictEqual({ ...asIs, ...rest }, asIs)
}
