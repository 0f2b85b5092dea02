import { strict as assert } from 'node:assert'
import { STATUS_CODES } from 'node:http'
import { z } from 'zod'
import { createDocument, type ZodOpenApiOperationObject, type ZodOpenApiResponsesObject } from 'zod-openapi'
import type { AnyRoute, Dialect, RawRoute, Route, StreamRoute } from './route.ts'

/** Any of these; what a browser sends by itself is bound to the browser rules. */
const SECURITY_SCHEMES = {
  bearer: { type: 'http', scheme: 'bearer' },
  token: { type: 'apiKey', in: 'header', name: 'X-Auth-Token' },
} as const

/** An empty requirement: a trusted network needs no credential. */
const CREDENTIALS = [{ bearer: [] }, { token: [] }, {}]

function plainDescription(status: number): string {
  return STATUS_CODES[status] ?? String(status)
}

/** The statuses of failure that a route can answer: its own, and what the listener answers for it. */
function failureStatuses(route: AnyRoute): readonly number[] {
  const own = 'errors' in route ? (route.errors ?? []) : []
  const takesBody = 'body' in route && route.body !== undefined
  const takesInput = takesBody || (route.path.includes(':') && 'params' in route) || 'query' in route
  const listener = [
    ...(takesInput ? [400] : []),
    ...(route.access === 'public' ? [] : [401, 403]),
    ...(takesBody ? [413] : []),
    500,
  ]
  return [...new Set([...own, ...listener])].toSorted((left, right) => left - right)
}

function failureResponses(dialect: Dialect, route: AnyRoute): ZodOpenApiResponsesObject {
  const content = { 'application/json': { schema: dialect.errorSchema } }
  const entries = failureStatuses(route).map((status) => [
    String(status),
    { description: plainDescription(status), content },
  ])
  return Object.fromEntries(entries)
}

function successResponse(route: Route | RawRoute): ZodOpenApiResponsesObject {
  const description = plainDescription(route.status)
  const contentType = route.kind === 'raw' ? (route.contentType.split(';')[0] ?? '') : 'application/json'
  const schema = route.result ?? (route.kind === 'raw' ? z.string() : undefined)
  return { [String(route.status)]: schema ? { description, content: { [contentType]: { schema } } } : { description } }
}

/** @throws when a schema for parameters is not an object: only those have names. */
function parametersOf(schema: z.ZodType | undefined): z.ZodObject | undefined {
  assert(schema === undefined || schema instanceof z.ZodObject, 'parameters must be a z.object')
  return schema
}

function describeOperation(dialect: Dialect, route: Route | RawRoute): ZodOpenApiOperationObject {
  const path = parametersOf(route.params)
  const query = parametersOf(route.query)
  return {
    operationId: route.operation,
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    ...(path || query ? { requestParams: { ...(path && { path }), ...(query && { query }) } } : {}),
    ...(route.body ? { requestBody: { required: true, content: { 'application/json': { schema: route.body } } } } : {}),
    responses: { ...successResponse(route), ...failureResponses(dialect, route) },
    security: route.access === 'public' ? [] : CREDENTIALS,
    ...(route.access === 'public' ? {} : { 'x-role': route.access }),
  }
}

/** OpenAPI has one operation per path and method: what else a GET can turn into is told in its words. */
function withStream(operation: ZodOpenApiOperationObject, stream: StreamRoute): ZodOpenApiOperationObject {
  const success = operation.responses['200']
  assert(success && 'content' in success, `${stream.path}: a stream needs a GET beside it`)
  const content = { ...success.content, 'text/event-stream': { schema: z.string() } }
  return { ...operation, responses: { ...operation.responses, '200': { ...success, content } } }
}

function describePath(dialect: Dialect, path: string): Record<string, ZodOpenApiOperationObject> {
  const routes = dialect.routes.filter((route) => route.path === path)
  const operations: Record<string, ZodOpenApiOperationObject> = {}
  for (const route of routes) {
    if (route.kind === 'route' || route.kind === 'raw') {
      operations[route.method.toLowerCase()] = describeOperation(dialect, route)
    }
  }
  for (const route of routes) {
    if (route.kind === 'route' || route.kind === 'raw') continue
    const get = operations.get
    assert(get, `${path}: a feed needs a GET beside it`)
    const words = [get.description, `${route.summary}. ${route.description ?? ''}`].filter(Boolean).join('\n\n')
    const described = { ...get, description: words.trim() }
    operations.get = route.kind === 'stream' ? withStream(described, route) : withUpgrade(described)
  }
  return operations
}

function withUpgrade(operation: ZodOpenApiOperationObject): ZodOpenApiOperationObject {
  const upgraded = { description: 'Switching Protocols: a WebSocket' }
  return { ...operation, responses: { '101': upgraded, ...operation.responses } }
}

/** The OpenAPI 3.1 document of one dialect, from the schemas that validate its requests. */
export function describeDialect(dialect: Dialect) {
  const paths = [...new Set(dialect.routes.map((route) => route.path))]
  const described = paths.map((path) => [path.replaceAll(/:([^/]+)/g, '{$1}'), describePath(dialect, path)])
  const document = {
    openapi: '3.1.0',
    info: { title: dialect.title, version: dialect.version, description: dialect.description },
    paths: Object.fromEntries(described),
    components: { schemas: dialect.schemas, securitySchemes: SECURITY_SCHEMES },
  } as const
  return createDocument(document, {
    // Answers may gain members: a client that validates strictly must not break on that.
    override: ({ jsonSchema, io }) => {
      if (io === 'output' && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties
    },
  })
}
