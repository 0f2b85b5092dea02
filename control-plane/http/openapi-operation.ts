import { strict as assert } from 'node:assert'
import { STATUS_CODES } from 'node:http'
import { z } from 'zod'
import type { ZodOpenApiOperationObject, ZodOpenApiResponseObject, ZodOpenApiResponsesObject } from 'zod-openapi'
import { SESSION_COOKIE } from '../core/sessions.ts'
import { answerHeaders, requestHeaders } from './openapi-headers.ts'
import type { AnyRoute, Dialect, Example, RawRoute, Route, SocketRoute, StreamRoute } from './route.ts'

/** Any of these; what a browser sends by itself is bound to the browser rules. */
export const SECURITY_SCHEMES = {
  bearer: { type: 'http', scheme: 'bearer', description: 'An API token' },
  token: { type: 'apiKey', in: 'header', name: 'X-Auth-Token', description: 'An API token' },
  session: {
    type: 'apiKey',
    in: 'cookie',
    name: SESSION_COOKIE,
    description: 'What `POST /api/v1/login` sets. Taken from our own pages only.',
  },
  certificate: { type: 'mutualTLS', description: 'A client certificate that stands for a user, on the TLS listener' },
} as const

/** An empty requirement: a trusted network needs no credential. */
const CREDENTIALS = [{ bearer: [] }, { token: [] }, { session: [] }, { certificate: [] }, {}]

function plainDescription(status: number): string {
  return STATUS_CODES[status] ?? String(status)
}

/** The statuses of failure that a route can answer: its own, and what the listener answers for it. */
function failureStatuses({ statuses }: Dialect, route: AnyRoute): readonly number[] {
  const own = 'errors' in route ? (route.errors ?? []) : []
  const isRead = !('method' in route) || route.method === 'GET'
  const takesBody = 'body' in route && route.body !== undefined
  const takesInput = takesBody || !isRead || /[:*]/.test(route.path) || 'query' in route
  const isPublic = route.access === 'public'
  const listener = [
    ...(takesInput ? [statuses.invalid] : []),
    ...(takesBody ? [statuses.too_large] : []),
    ...(isPublic ? [] : [statuses.unauthorized, statuses.forbidden, statuses.unavailable]),
    ...(route.kind === 'route' ? [statuses.stale] : []),
    ...(isPublic || isRead ? [] : [statuses.key_reused]),
    statuses.internal,
  ]
  return [...new Set([...own, ...listener])].toSorted((left, right) => left - right)
}

/** Named for what happened, so that a reader can choose among them. */
function examplesOf(examples: readonly Example[], part: 'request' | 'response') {
  const shown = examples.filter((example) => example[part] !== undefined)
  if (shown.length === 0) return {}
  const named = shown.map((example) => [example.name, { summary: example.name, value: example[part] }])
  return { examples: Object.fromEntries(named) }
}

function failureResponses(dialect: Dialect, route: AnyRoute, examples: readonly Example[]): ZodOpenApiResponsesObject {
  const entries = failureStatuses(dialect, route).map((status) => {
    const shown = examplesOf(
      examples.filter((example) => example.status === status),
      'response',
    )
    const response: ZodOpenApiResponseObject = {
      description: plainDescription(status),
      headers: answerHeaders(route, status),
      content: { 'application/json': { schema: dialect.errorSchema, ...shown } },
    }
    return [String(status), response]
  })
  return Object.fromEntries(entries)
}

function successResponses(route: Route | RawRoute, examples: readonly Example[]): ZodOpenApiResponsesObject {
  const { result, answers = { [route.status]: result ?? null } } = route
  const described = Object.entries(answers).map(([status, body]) =>
    successResponse(route, { status: Number(status), result: body ?? undefined }, examples),
  )
  return Object.assign({}, ...described)
}

function successResponse(
  route: Route | RawRoute,
  { status, result }: { readonly status: number; readonly result: z.ZodType | undefined },
  examples: readonly Example[],
): ZodOpenApiResponsesObject {
  const contentType = route.kind === 'raw' ? (route.contentType.split(';')[0] ?? '') : 'application/json'
  const schema = result ?? (route.kind === 'raw' ? z.string() : undefined)
  const shown = examplesOf(
    examples.filter((example) => example.status === status),
    'response',
  )
  const others = (route.kind === 'raw' && route.otherTypes) || []
  const other = Object.fromEntries(others.map((type) => [type, { schema: z.string() }]))
  const success: ZodOpenApiResponseObject = {
    description: plainDescription(status),
    headers: answerHeaders(route, status, schema !== undefined),
    ...(schema ? { content: { [contentType]: { schema, ...shown }, ...other } } : {}),
  }
  const known = { description: plainDescription(304), headers: answerHeaders(route, 304) }
  const isCached = route.method === 'GET' && (route.kind === 'route' || route.isCached === true)
  return { [String(status)]: success, ...(isCached ? { '304': known } : {}) }
}

/** @throws when a schema for parameters is not an object: only those have names. */
function parametersOf(schema: z.ZodType | undefined): z.ZodObject | undefined {
  assert(schema === undefined || schema instanceof z.ZodObject, 'parameters must be a z.object')
  return schema
}

export function describeOperation(dialect: Dialect, route: Route | RawRoute): ZodOpenApiOperationObject {
  const path = parametersOf(route.params)
  const query = parametersOf(route.query)
  const examples = dialect.examples?.filter(({ operation }) => operation === route.operation) ?? []
  const asked = examples.filter(({ status }) => status === route.status)
  const bodyContent = route.body && {
    'application/json': { schema: route.body, ...examplesOf(asked, 'request') },
    ...(route.form ? { 'application/x-www-form-urlencoded': { schema: route.body } } : {}),
  }
  return {
    operationId: route.operation,
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    ...(path || query ? { requestParams: { ...(path && { path }), ...(query && { query }) } } : {}),
    parameters: requestHeaders(route),
    ...(bodyContent ? { requestBody: { required: true, content: bodyContent } } : {}),
    responses: { ...successResponses(route, examples), ...failureResponses(dialect, route, examples) },
    security: route.access === 'public' ? [] : CREDENTIALS,
    ...(route.access === 'public' ? {} : { 'x-role': route.access }),
  }
}

/** OpenAPI has one operation per path and method: what else a GET can turn into is told in its words. */
export function withFeed(
  operation: ZodOpenApiOperationObject,
  feed: StreamRoute | SocketRoute,
): ZodOpenApiOperationObject {
  const words = [operation.description, `${feed.summary}. ${feed.description ?? ''}`].filter(Boolean).join('\n\n')
  const described = { ...operation, description: words.trim() }
  if (feed.kind === 'socket') {
    const upgraded = { description: 'Switching Protocols: a WebSocket' }
    return { ...described, responses: { '101': upgraded, ...operation.responses } }
  }
  const success = operation.responses['200']
  assert(success && 'content' in success, `${feed.path}: a stream needs a GET beside it`)
  const content = { ...success.content, 'text/event-stream': { schema: z.string() } }
  return { ...described, responses: { ...operation.responses, '200': { ...success, content } } }
}
