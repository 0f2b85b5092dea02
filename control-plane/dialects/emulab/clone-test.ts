import { route } from '../../http/route.ts'
import { TestView } from './schemas.ts'

const TEST = {
  path: '/lun/api/v1.0/clone_test',
  summary: 'Whether the API is there, and lets you in',
  access: 'viewer',
  status: 200,
  result: TestView,
  handle: () => ({ status: 200, body: { status: 'ok', message: 'test' } }) as const,
} as const

export const cloneTest = route({ operation: 'cloneTest', method: 'GET', ...TEST })
/** Any body is left unread. */
export const cloneTestByPost = route({ operation: 'cloneTestByPost', method: 'POST', ...TEST })
