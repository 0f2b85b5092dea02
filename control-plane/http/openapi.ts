import { strict as assert } from 'node:assert'
import type { z } from 'zod'
import { createDocument, type ZodOpenApiOperationObject } from 'zod-openapi'
import { HEADERS, PARAMETERS } from './openapi-headers.ts'
import { describeOperation, SECURITY_SCHEMES, withFeed } from './openapi-operation.ts'
import type { Dialect } from './route.ts'

type Operations = Record<string, ZodOpenApiOperationObject>

function describePath(dialect: Dialect, path: string): Operations {
  const routes = dialect.routes.filter((route) => route.path === path)
  const operations: Operations = {}
  for (const route of routes) {
    if (route.kind !== 'route' && route.kind !== 'raw') continue
    operations[route.method.toLowerCase()] = describeOperation(dialect, route)
  }
  for (const route of routes) {
    if (route.kind === 'route' || route.kind === 'raw') continue
    assert(operations.get, `${path}: a feed needs a GET beside it`)
    operations.get = withFeed(operations.get, route)
  }
  return operations
}

function describePaths(dialect: Dialect): Record<string, Operations> {
  const paths = [...new Set(dialect.routes.map((route) => route.path))]
  return Object.fromEntries(paths.map((path) => [path.replaceAll(/[:*]([^/]+)/g, '{$1}'), describePath(dialect, path)]))
}

interface Sources {
  readonly title: string
  readonly version: string
  readonly description: string
  readonly tags?: readonly { readonly name: string; readonly description: string }[]
  readonly paths: Record<string, Operations>
  readonly schemas: Readonly<Record<string, z.ZodType>>
}

function createFrom({ title, version, description, tags, paths, schemas }: Sources) {
  const components = { schemas, securitySchemes: SECURITY_SCHEMES }
  const info = { title, version, description }
  const document = createDocument(
    { openapi: '3.1.0', info, ...(tags ? { tags: [...tags] } : {}), paths, components },
    {
      // Answers may gain members: a client that validates strictly must not break on that.
      override: ({ jsonSchema, io }) => {
        if (io === 'output' && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties
      },
    },
  )
  return { ...document, components: { ...document.components, parameters: PARAMETERS, headers: HEADERS } }
}

/** The OpenAPI 3.1 document of one dialect, from the schemas that validate its requests. */
export function describeDialect(dialect: Dialect) {
  const { title, version, description, schemas } = dialect
  return createFrom({ title, version, description, schemas, paths: describePaths(dialect) })
}

/** `zerofs` → `Zerofs`, in front of its components: several dialects have an `Error`. */
function prefixOf({ name }: Dialect): string {
  return name.charAt(0).toUpperCase() + name.slice(1)
}

function mapOperations(paths: Record<string, Operations>, dialect: Dialect): Record<string, Operations> {
  const mark = (operation: ZodOpenApiOperationObject) => ({
    ...operation,
    operationId: `${dialect.name}.${operation.operationId}`,
    tags: [dialect.name],
  })
  const entries = Object.entries(paths).map(([path, operations]) => {
    const marked = Object.entries(operations).map(([method, operation]) => [method, mark(operation)])
    return [path, Object.fromEntries(marked)]
  })
  return Object.fromEntries(entries)
}

/** One document for every dialect of a listener. */
export function describeAll(dialects: readonly Dialect[], about: Pick<Sources, 'title' | 'version' | 'description'>) {
  return createFrom({
    ...about,
    tags: dialects.map(({ name, title, description }) => ({ name, description: `**${title}.** ${description}` })),
    paths: Object.assign({}, ...dialects.map((dialect) => mapOperations(describePaths(dialect), dialect))),
    schemas: Object.fromEntries(
      dialects.flatMap((dialect) =>
        Object.entries(dialect.schemas).map(([name, schema]) => [`${prefixOf(dialect)}${name}`, schema] as const),
      ),
    ),
  })
}
