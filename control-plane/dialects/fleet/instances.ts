import type { Caller } from '../../core/caller.ts'
import type { InstanceInfo } from '../../core/instances.ts'
import { route } from '../../http/route.ts'
import {
  AssignInstanceBody,
  CloneInstanceBody,
  InstanceAccepted,
  InstanceId,
  InstancePage,
  InstanceQuery,
  InstanceView,
  StopInstanceBody,
} from './instance-schemas.ts'
import { JobAccepted } from './point-schemas.ts'
import { time } from './present.ts'

function etagOfInstance({ id, version }: Pick<InstanceInfo, 'id' | 'version'>): string {
  return `"${id}.${version}"`
}

/** Paths of hosts are for those with a role over the fleet. */
function presentInstance(instance: InstanceInfo, caller: Caller): InstanceView {
  const { id, host, type, ref, name, state, mounts } = instance
  const isShown = caller.fleetRole !== null
  return {
    ...{ id, group_id: instance.groupId, host, type, ref, name, state },
    mounts: mounts.map(({ destination, source, kind, volume, readonly }) => ({
      ...{ destination, source: isShown ? source : null, kind, volume, readonly },
    })),
    config_hash: instance.configHash,
    created_at: instance.createdAt.toISOString(),
    seen_at: time(instance.seenAt),
    gone_at: time(instance.goneAt),
    moved_to: instance.movedTo,
  }
}

export const listInstances = route({
  operation: 'listInstances',
  method: 'GET',
  path: '/api/v1/instances',
  summary: 'Containers of hosts that match every filter given, newest first',
  access: 'viewer',
  status: 200,
  query: InstanceQuery,
  result: InstancePage,

  async handle({ query, caller }, core) {
    const { limit, cursor, gone, ...filter } = query
    const { items, nextCursor } = await core.instances.list(
      caller,
      { ...filter, gone: gone === 'true' },
      { limit, cursor },
    )
    return { status: 200, body: { items: items.map((one) => presentInstance(one, caller)), next_cursor: nextCursor } }
  },
})

export const getInstance = route({
  operation: 'getInstance',
  method: 'GET',
  path: '/api/v1/instances/:id',
  summary: 'One container',
  access: 'viewer',
  status: 200,
  params: InstanceId,
  result: InstanceView,
  errors: [404],

  async handle({ params, caller }, core) {
    const instance = await core.instances.get(caller, params.id)
    return { status: 200, body: presentInstance(instance, caller), etag: etagOfInstance(instance) }
  },
})

export const assignInstance = route({
  operation: 'assignInstance',
  method: 'PATCH',
  path: '/api/v1/instances/:id',
  summary: 'Hand a container over to another group',
  description: 'What hosts tell of belongs to the default group at first. For admins of the fleet.',
  access: 'admin',
  status: 200,
  params: InstanceId,
  body: AssignInstanceBody,
  result: InstanceView,
  errors: [404, 409, 412],
  precondition: 'own',

  async handle({ params, body, caller, ifMatch }, core) {
    const expected = ifMatch && ((current: InstanceInfo) => ifMatch(etagOfInstance(current)))
    const instance = await core.instances.assign(caller, params.id, body.group, expected)
    return { status: 200, body: presentInstance(instance, caller), etag: etagOfInstance(instance) }
  },
})

export const cloneInstance = route({
  operation: 'cloneInstance',
  method: 'POST',
  path: '/api/v1/instances/:id/clone',
  summary: 'Make a new container from one that may run, on the same host',
  description: 'It is `CREATING` until its job ends, and is gone again should that fail. A name that is taken is 409.',
  access: 'operator',
  status: 202,
  params: InstanceId,
  body: CloneInstanceBody,
  result: InstanceAccepted,
  errors: [404, 409, 503],

  async handle({ params, body, caller }, core) {
    const { jobId, instance } = await core.instances.clone(caller, params.id, body)
    return { status: 202, body: { id: instance.id, job_id: jobId }, headers: { 'X-Job-Id': jobId } }
  },
})

/** What starting and stopping share. */
const turning = {
  access: 'operator',
  status: 202,
  params: InstanceId,
  result: JobAccepted,
  errors: [404, 409, 503],
} as const

export const startInstance = route({
  ...turning,
  operation: 'startInstance',
  method: 'POST',
  path: '/api/v1/instances/:id/start',
  summary: 'Start a container',
  description: 'One that runs already stays as it is.',

  async handle({ params, caller }, core) {
    const { jobId } = await core.instances.start(caller, params.id)
    return { status: 202, body: { job_id: jobId }, headers: { 'X-Job-Id': jobId } }
  },
})

export const stopInstance = route({
  ...turning,
  operation: 'stopInstance',
  method: 'POST',
  path: '/api/v1/instances/:id/stop',
  summary: 'Stop a container',
  description: 'It is asked to, and ended when it has not stopped by then.',
  body: StopInstanceBody.optional(),

  async handle({ params, body, caller }, core) {
    const seconds = body?.grace_seconds
    const graceMs = seconds === undefined ? undefined : Math.round(seconds * 1000)
    const { jobId } = await core.instances.stop(caller, params.id, { graceMs })
    return { status: 202, body: { job_id: jobId }, headers: { 'X-Job-Id': jobId } }
  },
})
