import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { Registry } from 'prom-client'
import { createDialects } from '../../control-plane/dialects.ts'
import { describeAll } from '../../control-plane/http/openapi.ts'

/** The parts of an OpenAPI document that answers are checked against. */
interface Described {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DescribedOperation>>>>
}

export interface DescribedOperation {
  readonly operationId: string
  readonly parameters?: readonly { readonly in?: string; readonly name?: string }[]
  readonly requestBody?: {
    readonly content: Readonly<
      Record<string, { readonly examples?: Readonly<Record<string, { readonly value: Record<string, unknown> }>> }>
    >
  }
  readonly responses: Readonly<
    Record<string, { readonly headers?: object; readonly content?: Readonly<Record<string, object>> }>
  >
}

/** An answer as it came over the wire. */
export interface WireAnswer {
  readonly method: string
  /** Without its query string. */
  readonly path: string
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** Parsed where it is JSON; undefined when it is empty. */
  readonly body: unknown
}

export function servedDialects() {
  return createDialects({
    readiness: async () => ({ postgres: true, nats: true, ingest: true }),
    metrics: new Registry(),
  })
}

/** The very document that `/api-docs` answers, as its readers get it: through JSON. */
export function servedDocument(): Described {
  const document = describeAll(servedDialects(), { title: 'Holdfast', version: '0', description: '' })
  return JSON.parse(JSON.stringify(document))
}

/** `{name}` is one segment, `{path}` at the end whatever follows; segments that are spelled out win. */
export function createFinder({ paths }: Described) {
  const templates = Object.keys(paths)
    .toSorted((left, right) => (left.replaceAll('{', '~') < right.replaceAll('{', '~') ? -1 : 1))
    .map((path) => ({
      path,
      pattern: new RegExp(
        `^${path
          .replaceAll('.', '\\.')
          .replace(/\{path\}$/, '.+')
          .replaceAll(/\{[^}]+\}/g, '[^/]+')}/?$`,
      ),
    }))
  return (method: string, path: string) => {
    const verb = (method === 'HEAD' ? 'GET' : method).toLowerCase()
    const found = templates.find(({ path: template, pattern }) => pattern.test(path) && paths[template]?.[verb])
    const operation = found && paths[found.path]?.[verb]
    return found && operation && { template: found.path, verb, operation }
  }
}

function pointer(...parts: readonly string[]): string {
  return parts.map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')
}

/** @returns what in an answer is not as the document says: nothing for a path or method that no dialect has. */
export function createAnswerChecker(document = servedDocument()): (answer: WireAnswer) => readonly string[] {
  // Not strict: OpenAPI's own keywords (`example`, `discriminator`) are none of JSON Schema's.
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  addFormats.default(ajv)
  ajv.addSchema(document, 'document')
  const find = createFinder(document)
  const compiled = new Map<string, ValidateFunction>()

  function validatorOf(at: string): ValidateFunction {
    const validator = compiled.get(at) ?? ajv.compile({ $ref: `document#/${at}` })
    compiled.set(at, validator)
    return validator
  }

  return ({ method, path, status, headers, body }) => {
    const found = find(method, path)
    if (!found) return []
    const { template, verb, operation } = found
    const label = `${operation.operationId} ${status}`
    const response = operation.responses[String(status)]
    if (response === undefined) return [`${label}: the document has no such status`]
    const named = Object.keys(response.headers ?? {}).map((name) => name.toLowerCase())
    const etag = headers.etag ?? ''
    const badEtag = named.includes('etag') && !/^"[^"]+"$/.test(etag) ? [`${label}: no quoted ETag, but '${etag}'`] : []
    if (body === undefined) {
      const mayBeEmpty = method === 'HEAD' || response.content === undefined
      return mayBeEmpty ? badEtag : [...badEtag, `${label}: the body is empty`]
    }
    const contentType = headers['content-type']?.split(';')[0] ?? ''
    if (response.content?.[contentType] === undefined) return [`${label}: the document has no '${contentType}' there`]
    if (contentType !== 'application/json') return badEtag
    const validate = validatorOf(
      pointer('paths', template, verb, 'responses', String(status), 'content', contentType, 'schema'),
    )
    if (validate(body)) return badEtag
    return [...badEtag, ...(validate.errors ?? []).map((error) => `${label}: ${error.instancePath} ${error.message}`)]
  }
}
