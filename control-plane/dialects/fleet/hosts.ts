import { route } from '../../http/route.ts'
import { presentHost, presentPool } from './present.ts'
import { HostPage, HostView, IdOrName, PageQuery, PoolPage, PoolView } from './schemas.ts'

export const listHosts = route({
  operation: 'listHosts',
  method: 'GET',
  path: '/api/v1/hosts',
  summary: 'Hosts by name, with their pools',
  access: 'viewer',
  status: 200,
  query: PageQuery,
  result: HostPage,

  async handle({ query, caller }, core) {
    const { items, nextCursor } = await core.hosts.list(caller, query)
    return { status: 200, body: { items: items.map(presentHost), next_cursor: nextCursor } }
  },
})

export const getHost = route({
  operation: 'getHost',
  method: 'GET',
  path: '/api/v1/hosts/:id',
  summary: 'One host, by id or name',
  access: 'viewer',
  status: 200,
  params: IdOrName,
  result: HostView,
  errors: [404],

  async handle({ params, caller }, core) {
    return { status: 200, body: presentHost(await core.hosts.get(caller, params.id)) }
  },
})

export const listPools = route({
  operation: 'listPools',
  method: 'GET',
  path: '/api/v1/pools',
  summary: 'Pools of all hosts',
  access: 'viewer',
  status: 200,
  query: PageQuery,
  result: PoolPage,

  async handle({ query, caller }, core) {
    const { items, nextCursor } = await core.hosts.pools(caller, query)
    return { status: 200, body: { items: items.map(presentPool), next_cursor: nextCursor } }
  },
})

export const getPool = route({
  operation: 'getPool',
  method: 'GET',
  path: '/api/v1/pools/:id',
  summary: 'One pool, by id or name',
  access: 'viewer',
  status: 200,
  params: IdOrName,
  result: PoolView,
  errors: [404],

  async handle({ params, caller }, core) {
    return { status: 200, body: presentPool(await core.hosts.pool(caller, params.id)) }
  },
})
