import type { AnyRoute } from './route.ts'

/** Headers of requests and answers, described once: components of every document. */
export const PARAMETERS = {
  IdempotencyKey: {
    name: 'Idempotency-Key',
    in: 'header',
    description:
      'Makes a repeat harmless: for 24 hours the same caller, method and path with this key get the first answer, without ' +
      'its secrets. While the first request still runs, a repeat waits for it.',
    schema: { type: 'string', pattern: '^[\\x21-\\x7e]{1,255}$' },
  },
  IfMatch: {
    name: 'If-Match',
    in: 'header',
    description: 'Only if this is still the version: an `ETag` that an answer carried. Another one is refused.',
    schema: { type: 'string' },
  },
  IfMatchRequired: {
    name: 'If-Match',
    in: 'header',
    required: true,
    description: 'The `ETag` of the version that is to be changed. Another one is refused, and so is none.',
    schema: { type: 'string' },
  },
  IfNoneMatch: {
    name: 'If-None-Match',
    in: 'header',
    description: 'An `ETag` that is known already: 304 while it holds.',
    schema: { type: 'string' },
  },
  Group: {
    name: 'X-Holdfast-Group',
    in: 'header',
    description: 'The group (tenant) to act for, by name or id; default: the group of the credential.',
    schema: { type: 'string' },
  },
} as const

export const HEADERS = {
  ETag: { description: 'A strong validator of what is shown, quoted', schema: { type: 'string' } },
  JobId: {
    description: 'The job behind this answer, where there is one: `GET /api/v1/jobs/{id}`',
    schema: { type: 'string', format: 'uuid' },
  },
  RequestId: {
    description: "The client's own `X-Request-Id`, or one of ours: what logs call this request",
    schema: { type: 'string' },
  },
  RetryAfter: { description: 'Seconds after which to ask again', schema: { type: 'integer' } },
  Replayed: { description: 'This is the answer that the first request with the key got', schema: { const: 'true' } },
  Challenge: { description: 'Which credentials are taken', schema: { type: 'string' } },
} as const

function parameter(name: keyof typeof PARAMETERS) {
  return { $ref: `#/components/parameters/${name}` }
}

function header(name: keyof typeof HEADERS) {
  return { $ref: `#/components/headers/${name}` }
}

const PRECONDITION_REQUIRED = 428

/** What a request to `route` may carry beside its own input. */
export function requestHeaders(route: AnyRoute) {
  if (route.access === 'public') return []
  const isRead = !('method' in route) || route.method === 'GET'
  const needsMatch = 'errors' in route && route.errors?.includes(PRECONDITION_REQUIRED)
  const own = 'precondition' in route && route.precondition === 'own'
  return [
    parameter('Group'),
    ...(isRead && hasVersions(route) ? [parameter('IfNoneMatch')] : []),
    ...(own ? [parameter(needsMatch ? 'IfMatchRequired' : 'IfMatch')] : []),
    ...(isRead || route.kind !== 'route' ? [] : [parameter('IdempotencyKey')]),
  ]
}

/** What an answer of `status` carries beside its body, or without one. */
export function answerHeaders(route: AnyRoute, status: number, hasBody = status !== 204) {
  const isRead = !('method' in route) || route.method === 'GET'
  const succeeded = status < 300 || status === 304
  return {
    'X-Request-Id': header('RequestId'),
    ...(succeeded && hasBody && hasVersions(route) ? { ETag: header('ETag') } : {}),
    ...(isRead || status === 401 || status === 403 ? {} : { 'X-Job-Id': header('JobId') }),
    ...(isRead || route.access === 'public' || [401, 403, 429, 503].includes(status)
      ? {}
      : { 'Idempotent-Replayed': header('Replayed') }),
    ...(status === 429 || status === 503 ? { 'Retry-After': header('RetryAfter') } : {}),
    ...(status === 401 ? { 'WWW-Authenticate': header('Challenge') } : {}),
  }
}

function hasVersions(route: AnyRoute): boolean {
  return route.kind === 'route' || (route.kind === 'raw' && route.isCached === true)
}
