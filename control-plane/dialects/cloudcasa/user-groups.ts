import { z } from 'zod'
import { decideMembers, type Group, type GroupField } from '../../core/groups.ts'
import { route } from '../../http/route.ts'
import { documentRoutes, quoted } from './documents.ts'
import { listRoute } from './lists.ts'
import { mergeTags, present, type Resource } from './resource.ts'
import { UpdateAclsBody, UserGroupBodies, UserGroupView } from './schemas.ts'

const userGroups: Resource<Group, GroupField, typeof UserGroupBodies> = {
  collection: 'usergroups',
  title: 'Usergroup',
  noun: 'UserGroup',
  view: UserGroupView,
  bodies: UserGroupBodies,
  fields: {
    _id: { name: 'id', kind: 'text' },
    name: { name: 'name', kind: 'text' },
    users: { name: 'members', kind: 'set' },
    tags: { name: 'tags', kind: 'map' },
    _created: { name: 'createdAt', kind: 'time' },
    _updated: { name: 'updatedAt', kind: 'time' },
  },
  access: { create: 'admin', change: 'admin', delete: 'admin' },
  of: (core) => core.groups,

  present: ({ name, members, tags }) => ({
    name,
    users: members.map(({ user }) => user),
    acls: members.map(({ user, role }) => ({ user, role })),
    tags,
    status: 'ACTIVE',
  }),

  async create(core, caller, { name, users = [], acls, tags = {} }) {
    return {
      thing: await core.groups.create(caller, { name, members: decideMembers([], { users, roles: acls }), tags }),
    }
  },

  replace: (core, { caller, id, body: { name, users = [], acls, tags = {} }, ifMatch }) =>
    core.groups.change(
      caller,
      id,
      ({ members }) => ({ name, members: decideMembers(members, { users, roles: acls }), tags }),
      ifMatch,
    ),

  edit: (core, { caller, id, body: { name, users, acls, tags }, ifMatch }) =>
    core.groups.change(
      caller,
      id,
      (group) => ({
        ...(name !== undefined && { name }),
        ...(tags !== undefined && { tags: mergeTags(group.tags, tags) ?? group.tags }),
        ...((users ?? acls) && { members: decideMembers(group.members, { users, roles: acls }) }),
      }),
      ifMatch,
    ),
}

const updateAcls = route({
  operation: 'updateUserGroupAcls',
  method: 'POST',
  path: '/api/v1/usergroups/:id/action/update-acls',
  summary: 'Replaces the roles of the members that are named',
  access: 'admin',
  status: 200,
  params: z.object({ id: z.string() }),
  body: UpdateAclsBody,
  result: UserGroupView,
  errors: [404, 412, 422],
  precondition: 'own',

  async handle({ params, body, caller, ifMatch }, core) {
    const group = await core.groups.change(
      caller,
      params.id,
      ({ members }) => ({ members: decideMembers(members, { roles: body.acls }) }),
      ifMatch && ((current) => ifMatch(quoted(current))),
    )
    // as: `present` is checked against the view in tests; here its type is that of any document
    return { status: 200, body: present(userGroups, group) as z.output<typeof UserGroupView>, etag: quoted(group) }
  },
})

export const userGroupRoutes = [listRoute(userGroups), ...documentRoutes(userGroups), updateAcls]
