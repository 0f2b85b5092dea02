import type { User, UserField } from '../../core/users.ts'
import { documentRoutes } from './documents.ts'
import { listRoute } from './lists.ts'
import { mergeTags, type Resource } from './resource.ts'
import { UserBodies, UserView } from './schemas.ts'

const users: Resource<User, UserField, typeof UserBodies> = {
  collection: 'users',
  title: 'User',
  noun: 'User',
  view: UserView,
  bodies: UserBodies,
  fields: {
    _id: { name: 'id', kind: 'text' },
    name: { name: 'name', kind: 'text' },
    role: { name: 'role', kind: 'text' },
    disabled: { name: 'disabled', kind: 'boolean' },
    certificates: { name: 'certificates', kind: 'set' },
    tags: { name: 'tags', kind: 'map' },
    _created: { name: 'createdAt', kind: 'time' },
    _updated: { name: 'updatedAt', kind: 'time' },
  },
  // Everybody may change one thing: its own password.
  access: { create: 'admin', change: 'viewer', delete: 'admin' },
  of: (core) => core.users,

  present: ({ name, role, disabled, hasPassword, certificates, tags }) => ({
    name,
    role,
    disabled,
    has_password: hasPassword,
    certificates,
    tags,
    status: disabled ? 'DISABLED' : 'ACTIVE',
  }),

  async create(core, caller, { name, password = null, role = null, disabled = false, certificates = [], tags = {} }) {
    const given = { name, password, role, disabled, certificates: [...new Set(certificates)], tags }
    return { thing: await core.users.create(caller, given) }
  },

  replace: (core, { caller, id, body, ifMatch }) =>
    core.users.change(
      caller,
      id,
      () => ({
        ...passwordsOf(body),
        name: body.name,
        role: body.role ?? null,
        disabled: body.disabled ?? false,
        certificates: [...new Set(body.certificates)],
        tags: body.tags ?? {},
      }),
      ifMatch,
    ),

  edit: (core, { caller, id, body, ifMatch }) =>
    core.users.change(
      caller,
      id,
      (user) => {
        const { name, role, disabled, certificates } = body
        const tags = mergeTags(user.tags, body.tags)
        return {
          ...passwordsOf(body),
          ...(name !== undefined && { name }),
          ...(role !== undefined && { role }),
          ...(disabled !== undefined && { disabled }),
          ...(certificates !== undefined && { certificates: [...new Set(certificates)] }),
          ...(tags !== undefined && { tags }),
        }
      },
      ifMatch,
    ),
}

/** A replacement without a password keeps the one that is there: it is never shown, so nobody could send it back. */
function passwordsOf(body: {
  readonly password?: string | null | undefined
  readonly current_password?: string | undefined
}) {
  const { password, current_password: currentPassword } = body
  return { ...(password !== undefined && { password }), ...(currentPassword !== undefined && { currentPassword }) }
}

export const userRoutes = [listRoute(users), ...documentRoutes(users)]
