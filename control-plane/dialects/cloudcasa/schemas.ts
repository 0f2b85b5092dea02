import { z } from 'zod'
import { ROLES } from '../../core/caller.ts'
import { CertificateName, DirectoryName, DocumentId, Password } from '../../core/directory-words.ts'
import { Tags } from '../../core/requests.ts'
import { parseDate } from './dates.ts'
import { DocumentLinks } from './links.ts'

const USERS_MAX = 1000
const CERTIFICATES_MAX = 32

/** What a client sends. Members that only the server sets are as little known here as any other that we do not have. */
function document<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.strictObject(shape, {
    error: ({ code }) => (code === 'unrecognized_keys' ? 'is unknown, or set by the server' : undefined),
  })
}

const Role = z.enum(ROLES)
const TagChanges = z
  .record(z.string().min(1).max(64), z.string().max(256).nullable())
  .meta({ description: 'Merged with what is there; null takes a tag away' })

const Instant = z
  .string()
  .transform((text, context) => {
    const date = parseDate(text)
    if (date !== undefined) return date
    context.addIssue({ code: 'custom', message: "must be a date like 'Wed, 06 Apr 2022 22:34:51 GMT'" })
    return z.NEVER
  })
  .meta({ override: { type: 'string' }, example: 'Wed, 06 Apr 2022 22:34:51 GMT' })

/** Which document a collection's PUT means. That of a document may repeat it. */
export const Identified = { _id: DocumentId.optional() }

const Users = z.array(DocumentId).max(USERS_MAX, `must hold at most ${USERS_MAX} users`)
const Acls = z
  .array(z.strictObject({ user: DocumentId, role: Role }))
  .max(USERS_MAX)
  .refine((acls) => new Set(acls.map(({ user }) => user)).size === acls.length, 'names a user twice')

const userGroup = { name: DirectoryName, users: Users.optional(), acls: Acls.optional() }
export const UserGroupBodies = {
  create: document({ ...userGroup, tags: Tags.optional() }),
  replace: document({ ...Identified, ...userGroup, tags: Tags.optional() }),
  edit: document({ ...Identified, ...userGroup, name: DirectoryName.optional(), tags: TagChanges.optional() }),
}
export const UpdateAclsBody = document({ acls: Acls })

const user = {
  name: DirectoryName,
  password: Password.nullable().optional(),
  role: Role.nullable().optional(),
  disabled: z.boolean().optional(),
  certificates: z.array(CertificateName).max(CERTIFICATES_MAX).optional(),
}
const OldPassword = {
  current_password: z.string().max(256).optional().meta({ description: 'Of those who change their own' }),
}
export const UserBodies = {
  create: document({ ...user, tags: Tags.optional() }),
  replace: document({ ...Identified, ...user, ...OldPassword, tags: Tags.optional() }),
  edit: document({
    ...Identified,
    ...user,
    ...OldPassword,
    name: DirectoryName.optional(),
    tags: TagChanges.optional(),
  }),
}

const apiKey = { name: DirectoryName, role: Role.optional(), expires_at: Instant.nullable().optional() }
const Ends = {
  user: DocumentId.nullable()
    .optional()
    .meta({ description: 'Whose it is: yours when absent; null: a service of no user' }),
  usergroup: DocumentId.nullable().optional().meta({ description: 'The one group it is for; null: not for one alone' }),
}
export const ApiKeyBodies = {
  create: document({ ...apiKey, ...Ends, tags: Tags.optional() }),
  replace: document({ ...Identified, ...apiKey, ...Ends, tags: Tags.optional() }),
  edit: document({
    ...Identified,
    ...apiKey,
    ...Ends,
    name: DirectoryName.optional(),
    tags: TagChanges.optional(),
  }),
}

const ShownDate = z.string().meta({ description: 'RFC 1123', example: 'Wed, 06 Apr 2022 22:34:51 GMT' })
const ShownTags = z.record(z.string(), z.string())

const Meta = {
  _created: ShownDate,
  _updated: ShownDate,
  _etag: z.string().regex(/^[0-9a-f]{40}$/),
  _links: DocumentLinks,
  _status: z.literal('OK'),
}

export const UserGroupView = z.object({
  _id: DocumentId,
  name: z.string(),
  users: z.array(DocumentId),
  acls: z.array(z.object({ user: DocumentId, role: Role })),
  tags: ShownTags,
  status: z.literal('ACTIVE'),
  ...Meta,
})

export const UserView = z.object({
  _id: DocumentId,
  name: z.string(),
  role: Role.nullable(),
  disabled: z.boolean(),
  has_password: z.boolean(),
  certificates: z.array(z.string()),
  tags: ShownTags,
  status: z.enum(['ACTIVE', 'DISABLED']),
  ...Meta,
})

export const ApiKeyView = z.object({
  _id: DocumentId,
  name: z.string(),
  role: Role,
  user: DocumentId.nullable(),
  usergroup: DocumentId.nullable(),
  expires_at: ShownDate.nullable(),
  last_used_at: ShownDate.nullable(),
  tags: ShownTags,
  status: z.enum(['ACTIVE', 'EXPIRED']),
  token: z.string().optional().meta({ description: 'The secret: in the answer that creates it, and never again' }),
  ...Meta,
})
