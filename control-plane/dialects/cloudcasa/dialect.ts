import type { Dialect } from '../../http/route.ts'
import { apiKeyRoutes } from './api-keys.ts'
import { ErrorBody, errorBody, STATUSES } from './envelope.ts'
import { ApiKeyView, UserGroupView, UserView } from './schemas.ts'
import { userGroupRoutes } from './user-groups.ts'
import { userRoutes } from './users.ts'

export const cloudcasa: Dialect = {
  name: 'cloudcasa',
  title: 'CloudCasa API',
  version: '1',
  description:
    'Users, groups as tenants, and API keys, in the manner of Eve: documents with an `_etag` that every change must name.',
  owns: ['/api/v1/usergroups', '/api/v1/users', '/api/v1/apikeys'],
  statuses: STATUSES,
  errorBody,
  errorSchema: ErrorBody,
  schemas: { UserGroup: UserGroupView, User: UserView, ApiKey: ApiKeyView, Error: ErrorBody },
  routes: [...userGroupRoutes, ...userRoutes, ...apiKeyRoutes],
}
