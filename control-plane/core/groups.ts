import { FleetError } from '../../shared/errors.ts'
import { atLeast, type Caller, DEFAULT_GROUP_ID, hasRole, type Role, requireFleetRole, visibleGroup } from './caller.ts'
import { type Condition, requireCondition } from './condition.ts'
import type { FieldKinds, Listing, ListRequest } from './query.ts'
import { changeVersion } from './version-change.ts'

export interface Member {
  /** The user's document id. */
  readonly user: string
  readonly role: Role
}

/** A tenant. */
export interface Group {
  readonly id: string
  readonly documentId: string
  /** Unique over the fleet. */
  readonly name: string
  /** In the order in which they joined. */
  readonly members: readonly Member[]
  readonly tags: Readonly<Record<string, string>>
  /** Grows with every change of the group, its members and their roles. */
  readonly version: number
  readonly createdAt: Date
  readonly updatedAt: Date
}

export const GROUP_FIELDS = {
  id: 'text',
  name: 'text',
  members: 'set',
  tags: 'map',
  createdAt: 'time',
  updatedAt: 'time',
} as const satisfies FieldKinds
export type GroupField = keyof typeof GROUP_FIELDS

export type NewGroup = Pick<Group, 'name' | 'members' | 'tags'>

/** What is absent stays as it is; `members` are all who remain. */
export type GroupChange = Partial<NewGroup>

/** Groups by their document ids. Which a caller may not see is absent. */
export interface Groups {
  /** @throws forbidden, exists, invalid (`field` users: one that does not exist). */
  create(caller: Caller, group: NewGroup): Promise<Group>
  /** @throws not_found. */
  get(caller: Caller, id: string): Promise<Group>
  list(caller: Caller, request: ListRequest<GroupField>): Promise<Listing<Group>>
  /**
   * @param decide says what to change of the group as it is; asked again when it has become another meanwhile.
   * @throws not_found, forbidden, stale, exists, invalid (`field` users), and what `decide` throws.
   */
  change(caller: Caller, id: string, decide: (group: Group) => GroupChange, ifMatch?: Condition<Group>): Promise<Group>
  /** Its tokens and finished jobs go with it. @throws not_found, forbidden, stale, conflict (what it owns: `blockers`). */
  delete(caller: Caller, id: string, ifMatch?: Condition<Group>): Promise<void>
}

/** What Postgres must do for groups. `groupId` null: every one. Changes are written only to the version they were decided on, with their audit. */
export interface GroupStore {
  find(id: string, groupId: string | null): Promise<Group | undefined>
  list(request: ListRequest<GroupField>, groupId: string | null): Promise<Listing<Group>>
  /** @throws exists, invalid (users). */
  create(caller: Caller, group: NewGroup): Promise<Group>
  /** @returns undefined when it has another version by now. @throws exists, invalid (users). */
  change(caller: Caller, group: Group, change: GroupChange): Promise<Group | undefined>
  /** @returns undefined when it has another version by now. @throws conflict. */
  delete(caller: Caller, group: Group): Promise<DeletedGroup | undefined>
}

/** `leftovers`: datasets that came by themselves. They belong to the default group now, and are to be deleted on their hosts. */
export interface DeletedGroup {
  readonly leftovers: readonly string[]
}

export function createGroups(deps: {
  readonly store: GroupStore
  /** Deletes a dataset of the default group, soon. What fails stays there to be seen. */
  readonly discard: (dataset: string) => void
}): Groups {
  const { store, discard } = deps

  async function get(caller: Caller, id: string): Promise<Group> {
    const group = await store.find(id, visibleGroup(caller))
    if (group === undefined) throw new FleetError('not_found', `there is no group '${id}'`)
    return group
  }

  return {
    get,
    list: (caller, request) => store.list(request, visibleGroup(caller)),

    async create(caller, group) {
      requireFleetRole(caller, 'admin')
      return store.create(caller, group)
    },

    change(caller, id, decide, ifMatch) {
      return changeVersion(
        async () => {
          const group = await get(caller, id)
          requireGroupAdmin(caller, group)
          requireCondition(ifMatch, group)
          return group
        },
        (group) => {
          const change = decide(group)
          if (change.name !== undefined && change.name !== group.name) requireFleetRole(caller, 'admin')
          return store.change(caller, group, change)
        },
      )
    },

    async delete(caller, id, ifMatch) {
      const { leftovers } = await changeVersion(
        async () => {
          const group = await get(caller, id)
          requireFleetRole(caller, 'admin')
          requireCondition(ifMatch, group)
          if (group.id === DEFAULT_GROUP_ID) throw new FleetError('conflict', 'the default group cannot be deleted')
          return group
        },
        (group) => store.delete(caller, group),
      )
      for (const dataset of leftovers) discard(dataset)
    },
  }
}

/** Admins of the fleet, and of the group where it is the one they act for. */
function requireGroupAdmin(caller: Caller, group: Group): void {
  if (atLeast(caller.fleetRole, 'admin')) return
  if (caller.groupId === group.id && hasRole(caller, 'admin')) return
  throw new FleetError('forbidden', "this needs the role 'admin' in the group")
}

/** What a member may do whose role nobody named. */
const USUAL_ROLE: Role = 'operator'

/**
 * The members of a group after a change of who belongs to it and what some of them may do. Those who stay keep their role
 * unless `roles` says otherwise; those who come are operators unless it does.
 * @throws invalid (`field` acls) for a role of somebody who does not belong to it.
 */
export function decideMembers(
  current: readonly Member[],
  change: { readonly users?: readonly string[] | undefined; readonly roles?: readonly Member[] | undefined },
): readonly Member[] {
  const users = change.users ?? current.map((member) => member.user)
  const named = new Map(change.roles?.map(({ user, role }) => [user, role]))
  const present = new Set(users)
  for (const user of named.keys()) {
    if (present.has(user)) continue
    throw new FleetError('invalid', `acls: the user '${user}' is not a member`, { field: 'acls' })
  }
  const roles = new Map(current.map(({ user, role }) => [user, role]))
  return [...present].map((user) => ({ user, role: named.get(user) ?? roles.get(user) ?? USUAL_ROLE }))
}
