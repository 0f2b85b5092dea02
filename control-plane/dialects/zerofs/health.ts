import { route } from '../../http/route.ts'
import { HealthView } from './schemas.ts'

/** The version of ZeroFS whose document this dialect speaks; CSI drivers compare it. */
export const ZEROFS_VERSION = '0.22.8'

const HEALTHY = { status: 'ok', version: ZEROFS_VERSION } as const

export const health = route({
  operation: 'health',
  method: 'GET',
  path: '/health',
  summary: 'Server is healthy',
  access: 'public',
  status: 200,
  result: HealthView,

  handle: () => ({ status: 200, body: HEALTHY }),
})
