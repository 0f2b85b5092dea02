import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { Caller } from '../../core/caller.ts'
import type { Condition } from '../../core/condition.ts'
import type { Core } from '../../core/core.ts'
import { DocumentId } from '../../core/directory-words.ts'
import { route, WireError } from '../../http/route.ts'
import { badQuery } from './bad-query.ts'
import { NO_ETAG } from './envelope.ts'
import { type Bodies, etagOf, type Kept, present, type Resource } from './resource.ts'

const Params = z.object({ id: z.string() })
const Target = z.object({ _id: DocumentId.optional() })

/** 412: the ETag is another one; 428: there is none. */
const CHANGE_ERRORS = [400, 404, 409, 412, 422, 428]

interface ConditionalRequest {
  readonly caller: Caller
  readonly ifMatch: ((etag: string) => boolean) | undefined
}

interface ChangeRequest extends ConditionalRequest {
  readonly body: Readonly<Record<string, unknown>>
}

export function quoted(thing: Kept): string {
  return `"${etagOf(thing)}"`
}

/** The routes of single documents, whether their id stands in the path or in the body. */
export function documentRoutes<Thing extends Kept, Name extends string, B extends Bodies>(
  resource: Resource<Thing, Name, B>,
) {
  const { collection, noun, view, bodies, access } = resource
  const path = `/api/v1/${collection}`
  type Document = z.output<typeof view>

  function answer<Status extends number>(status: Status, thing: Thing, shownOnce = {}) {
    return { status, body: { ...present(resource, thing), ...shownOnce } as Document, etag: quoted(thing) }
  }

  /** @throws not_found before WireError 428: there is no etag of what is not there. */
  async function expectation(
    { caller, ifMatch }: ConditionalRequest,
    id: string,
    core: Core,
  ): Promise<Condition<Thing>> {
    if (ifMatch !== undefined) return (thing) => ifMatch(quoted(thing))
    await resource.of(core).get(caller, id)
    throw new WireError(428, NO_ETAG)
  }

  async function change(how: 'replace' | 'edit', request: ChangeRequest, id: string, core: Core) {
    const { caller, body } = request
    requireSameId(id, body._id)
    const ifMatch = await expectation(request, id, core)
    // as: the body is what the very schema of this route returned
    const thing = await resource[how](core, { caller, id, body: body as never, ifMatch })
    return answer(200, thing)
  }

  async function remove(request: ConditionalRequest, id: string, core: Core) {
    const ifMatch = await expectation(request, id, core)
    await resource.of(core).delete(request.caller, id, ifMatch)
    return { status: 204 } as const
  }

  const common = { access: access.change, precondition: 'own', errors: CHANGE_ERRORS } as const

  return [
    route({
      operation: `create${noun}`,
      method: 'POST',
      path,
      summary: `Creates one of the ${collection}`,
      access: access.create,
      status: 201,
      body: bodies.create,
      result: view,
      errors: [422],
      withoutSecrets: ({ token: _, ...body }: Document) => body as Document,

      async handle({ body, caller }, core) {
        // as: see `change`
        const { thing, shownOnce } = await resource.create(core, caller, body as never)
        return { ...answer(201, thing, shownOnce), headers: { Location: `${path}/${thing.documentId}` } }
      },
    }),

    route({
      operation: `get${noun}`,
      method: 'GET',
      path: `${path}/:id`,
      summary: `One of the ${collection}`,
      access: 'viewer',
      status: 200,
      params: Params,
      result: view,
      errors: [404],

      handle: async ({ params, caller }, core) => answer(200, await resource.of(core).get(caller, params.id)),
    }),

    route({
      ...common,
      operation: `replace${noun}`,
      method: 'PUT',
      path: `${path}/:id`,
      summary: 'Replaces it: what is absent is as in a new one',
      status: 200,
      params: Params,
      body: bodies.replace,
      result: view,

      handle: (request, core) => change('replace', request, request.params.id, core),
    }),

    route({
      ...common,
      operation: `edit${noun}`,
      method: 'PATCH',
      path: `${path}/:id`,
      summary: 'Edits it: what is absent stays as it is',
      status: 200,
      params: Params,
      body: bodies.edit,
      result: view,

      handle: (request, core) => change('edit', request, request.params.id, core),
    }),

    route({
      ...common,
      operation: `replace${noun}InCollection`,
      method: 'PUT',
      path,
      summary: 'Replaces the one that `_id` in the body names',
      status: 200,
      body: bodies.replace.extend({ _id: DocumentId }),
      result: view,

      handle: (request, core) => change('replace', request, String(request.body._id), core),
    }),

    route({
      ...common,
      access: access.delete,
      operation: `delete${noun}`,
      method: 'DELETE',
      path: `${path}/:id`,
      summary: 'Deletes it',
      status: 204,
      params: Params,

      handle: (request, core) => remove(request, request.params.id, core),
    }),

    route({
      ...common,
      access: access.delete,
      operation: `delete${noun}InCollection`,
      method: 'DELETE',
      path,
      summary: 'Deletes the one that `_id` names, in the body or the query; never the collection',
      status: 204,
      query: Target,
      body: Target.optional(),

      handle: async (request, core) => remove(request, targetOf(request.query._id, request.body?._id), core),
    }),
  ]
}

/** @throws invalid: a document keeps its id. */
function requireSameId(id: string, given: unknown): void {
  if (given === undefined || given === id) return
  throw new FleetError('invalid', '_id: never changes', { field: '_id' })
}

/** @throws WireError 400 when none is named, or two. */
function targetOf(inQuery: string | undefined, inBody: string | undefined): string {
  const id = inQuery ?? inBody
  if (id === undefined) throw badQuery('_id', 'is needed: a collection is not deleted')
  if (inBody !== undefined && inBody !== id) throw badQuery('_id', 'names another document than the body does')
  return id
}
