import { z } from 'zod'
import { route } from '../../http/route.ts'
import { ListLinks, listLinks } from './links.ts'
import { parsePaging } from './paging.ts'
import { parseProjection } from './projection.ts'
import { type Bodies, type Kept, present, type Resource } from './resource.ts'
import { parseSort } from './sort.ts'
import { parseWhere } from './where.ts'

const text = (description: string, example?: string) =>
  z
    .string()
    .optional()
    .meta({ description, ...(example === undefined ? {} : { example }) })

const ListQuery = z.object({
  where: text(
    'JSON: members are equal, or `$gt $gte $lt $lte $ne $in $nin`; `$and $or` join',
    '{"tags.env": "production"}',
  ),
  sort: text('Names with commas between; `-` turns one round', '-name,_created'),
  projection: text('JSON: which members are shown (1) or not (0)', '{"name": 1}'),
  page: text('From 1 on'),
  max_results: text('A page: 25 when absent, 50 at most'),
})

/** Own members are optional in a list: a projection may leave them out. */
function listSchema(view: z.ZodObject) {
  const members = Object.entries(view.shape).map(([name, schema]) => [
    name,
    // as: every member of a view is a plain schema of zod's
    name.startsWith('_') ? schema : z.optional(schema as z.ZodType),
  ])
  const item = z.object(Object.fromEntries(members))
  return z.object({
    _items: z.array(item),
    _meta: z.object({ page: z.number().int(), max_results: z.number().int(), total: z.number().int() }),
    _links: ListLinks,
  })
}

export function listRoute<Thing extends Kept, Name extends string, B extends Bodies>(
  resource: Resource<Thing, Name, B>,
) {
  const { collection, noun, fields, view } = resource
  const result = listSchema(view)
  return route({
    operation: `list${noun}s`,
    method: 'GET',
    path: `/api/v1/${collection}`,
    summary: `The ${collection} that you may see`,
    access: 'viewer',
    status: 200,
    query: ListQuery,
    result,
    errors: [400],

    async handle({ query: { page: asked, ...query }, caller }, core) {
      const { page, maxResults } = parsePaging({ page: asked, max_results: query.max_results })
      const show =
        query.projection === undefined ? undefined : parseProjection(query.projection, Object.keys(view.shape))
      const { items, total } = await resource.of(core).list(caller, {
        filter: query.where === undefined ? undefined : parseWhere(query.where, fields),
        sort: query.sort === undefined ? [] : parseSort(query.sort, fields),
        offset: (page - 1) * maxResults,
        limit: maxResults,
      })
      const documents = items.map((thing) => present(resource, thing))
      const body = {
        _items: show === undefined ? documents : documents.map(show),
        _meta: { page, max_results: maxResults, total },
        _links: listLinks(collection, query, { page, maxResults, total }),
      }
      // as: `present` is checked against the view in tests; here its type is that of any document
      return { status: 200, body: body as z.output<typeof result> }
    },
  })
}
