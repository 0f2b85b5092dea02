import type { Host } from '../../core/hosts.ts'
import { route } from '../../http/route.ts'
import { etagOfHost, presentHost, presentPool } from './present.ts'
import { HostPage, HostView, IdOrName, PageQuery, PoolPage, PoolView, RemovalQuery, RemovalView } from './schemas.ts'

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
    return { status: 200, body: { items: items.map((host) => presentHost(host, caller)), next_cursor: nextCursor } }
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
    const host = await core.hosts.get(caller, params.id)
    return { status: 200, body: presentHost(host, caller), etag: etagOfHost(host) }
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

/** What putting a drain on a host and taking it off share. */
const drain = { path: '/api/v1/hosts/:id/drain', access: 'operator', status: 200 } as const

export const drainHost = route({
  ...drain,
  operation: 'drainHost',
  method: 'POST',
  summary: 'Give a host no new datasets',
  description:
    'It goes on serving those it has: snapshots, restores and deletions go on. Clones count as new. Needs the role operator over the fleet.',
  params: IdOrName,
  result: HostView,
  errors: [404],
  handle: async ({ params, caller }, core) => ({
    status: 200,
    body: presentHost(await core.hosts.drain(caller, params.id, true), caller),
  }),
})

export const undrainHost = route({
  ...drain,
  operation: 'undrainHost',
  method: 'DELETE',
  summary: 'Give a host new datasets again',
  params: IdOrName,
  result: HostView,
  errors: [404],
  handle: async ({ params, caller }, core) => ({
    status: 200,
    body: presentHost(await core.hosts.drain(caller, params.id, false), caller),
  }),
})

export const removeHost = route({
  operation: 'removeHost',
  method: 'DELETE',
  path: '/api/v1/hosts/:id',
  summary: 'Take a host out of the fleet',
  description:
    'Its credentials are revoked; it comes back by enrolment only. 409 with `blockers` while it has datasets or unfinished jobs. ' +
    'With `force=true` those jobs fail and the datasets are forgotten, in every group; nothing on its disks is touched.',
  access: 'admin',
  status: 200,
  params: IdOrName,
  query: RemovalQuery,
  result: RemovalView,
  errors: [404, 409],
  precondition: 'own',

  async handle({ params, query, caller, ifMatch }, core) {
    const options = {
      force: query.force === 'true',
      ifMatch: ifMatch && ((current: Host) => ifMatch(etagOfHost(current))),
    }
    const { host, failedJobs, forgottenDatasets } = await core.hosts.remove(caller, params.id, options)
    return { status: 200, body: { ...host, failed_jobs: failedJobs, forgotten_datasets: forgottenDatasets } }
  },
})
