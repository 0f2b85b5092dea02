import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { JobSpec } from '../../shared/job-spec.ts'
import { actingFor, type Caller, requireFleetRole, requireRole, visibleGroup } from './caller.ts'
import { checkKept } from './check-request.ts'
import { requireCondition } from './condition.ts'
import { orderNewDataset } from './datasets.ts'
import { choosePool, type FleetView, requireAccepting, requireOnline } from './fleet-view.ts'
import { CloneInstanceRequest, StopInstanceRequest } from './instance-requests.ts'
import type {
  InstanceInfo,
  InstanceOrders,
  InstanceReader,
  KeptInstance,
  OrderLink,
  PresentInstance,
} from './instances.ts'
import { requireMadeHere } from './made-here.ts'
import { type Decision, type Findings, type Hold, type Order, type OrderBook, orderOf } from './orders.ts'
import { INSTANCE_TAG, instanceTag } from './point-instances.ts'
import { changeVersion } from './version-change.ts'

const GRACE_MS = 30_000

/** What is ordered of an instance that stands on its host. */
type Work = (instance: PresentInstance) => Pick<Decision, 'spec' | 'holds'> & Partial<Decision>

export function createInstances(deps: {
  readonly orders: OrderBook
  readonly reader: InstanceReader
  readonly fleet: FleetView
}): InstanceOrders {
  const { orders, reader, fleet } = deps

  async function find(caller: Caller, id: string): Promise<KeptInstance> {
    const instance = await reader.find(visibleGroup(caller), id)
    if (instance === undefined) throw noInstance(id)
    return instance
  }

  /** Whoever may work on it, acting for its group. @throws forbidden, not_found. */
  async function acting(caller: Caller, id: string): Promise<Caller> {
    requireRole(caller, 'operator')
    const forGroup = actingFor(caller, (await find(caller, id)).groupId)
    requireRole(forGroup, 'operator')
    return forGroup
  }

  function orderFor(caller: Caller, request: { readonly id: string }, link: OrderLink | undefined, work: Work): Order {
    const { id } = request
    const { retryOf, task } = link ?? {}
    const order = orderOf(caller, [], (findings) => {
      const instance = standing(findings, id)
      requireOnline(fleet, instance.host)
      return {
        request,
        host: { id: instance.hostId, name: instance.host },
        subject: null,
        interactive: false,
        ...work(instance),
        ...(retryOf === undefined ? {} : { retryOf }),
      }
    })
    return { ...order, task, instances: [id] }
  }

  /** Nothing else works on it meanwhile. */
  async function alone(
    caller: Caller,
    request: { readonly id: string },
    given: { readonly link: OrderLink | undefined; readonly spec: (instance: PresentInstance) => JobSpec },
  ) {
    const holds: readonly Hold[] = [{ lane: request.id, exclusive: true }]
    const work: Work = (instance) => ({ spec: given.spec(instance), holds })
    return orders.place(orderFor(await acting(caller, request.id), request, given.link, work))
  }

  return {
    get: async (caller, id) => shown(await find(caller, id)),

    async list(caller, filter, page) {
      const found = await reader.list(visibleGroup(caller), filter, page)
      return { ...found, items: found.items.map(shown) }
    },

    async assign(caller, id, group, ifMatch) {
      requireFleetRole(caller, 'admin')
      const groupId = await reader.group(group)
      await changeVersion(
        async () => {
          const instance = await find(caller, id)
          requireCondition(ifMatch, shown(instance))
          if (groupId === undefined)
            throw new FleetError('not_found', `there is no group '${group}'`, { field: 'group' })
          if (instance.state === 'CREATING') throw beingMade(instance)
          return instance
        },
        async (instance) =>
          instance.groupId === groupId || (await reader.assign(caller, instance, groupId ?? '')) || undefined,
      )
      return shown(await find(caller, id))
    },

    async clone(caller, id, request, link) {
      const forGroup = await acting(caller, id)
      const asked = checkKept(CloneInstanceRequest, { ...request, id })
      let made: InstanceInfo | undefined
      const order = orderFor(forGroup, asked, link, (source) => {
        const decision = decideClone(fleet, asked, source)
        const { id: cloneId, type, name } = decision.instance.create
        made = beingCreated(source, { id: cloneId, type, name })
        return decision
      })
      const { jobId } = await orders.place(order)
      const instance = (await reader.ofJob(jobId)) ?? made
      if (instance === undefined) throw new FleetError('not_found', 'the instance that was ordered is gone already')
      return { jobId, instance: shown(instance) }
    },

    start: (caller, id, link) =>
      alone(
        caller,
        { id },
        {
          link,
          spec(instance) {
            if (instance.isMoving && link?.task?.kind !== 'move')
              throw new FleetError('conflict', `'${instance.name}' is on its way to another host`)
            return { kind: 'instance.start', ...aboutOf(instance) }
          },
        },
      ),

    stop(caller, id, request = {}, link) {
      const asked = checkKept(StopInstanceRequest, { ...request, id })
      const graceMs = asked.graceMs ?? GRACE_MS
      return alone(caller, asked, {
        link,
        spec: (instance) => ({ kind: 'instance.stop', ...aboutOf(instance), graceMs }),
      })
    },
  }
}

/** A dataset for it beside the instance that it is made from, and it on that. */
function decideClone(fleet: FleetView, asked: CloneInstanceRequest, source: PresentInstance) {
  const { name, pool: wanted, hold = 'pause', start = false } = asked
  requireMadeHere(source.type, 'id')
  requireAccepting(fleet, source.host)
  const pool = choosePool(fleet, { host: source.host, pool: wanted })
  const { type } = source
  const made = orderNewDataset({ request: asked, pool, name, tags: { [INSTANCE_TAG]: instanceTag({ type, name }) } })
  const instance = { create: { id: newId(), type, name } }
  const spec: JobSpec = {
    kind: 'instance.clone',
    source: aboutOf(source).place,
    target: made.spec.target,
    instanceId: instance.create.id,
    ...{ name, hold, start },
  }
  const holds = [{ lane: source.id, exclusive: false }]
  return { create: made.create, subject: made.subject, instance, spec, holds }
}

function aboutOf({ id, type, ref }: PresentInstance) {
  return { place: { type, instance: ref }, instanceId: id }
}

/** @throws not_found; conflict for one that does not stand on its host, yet or any more. */
export function standing(findings: Pick<Findings, 'instance'>, id: string): PresentInstance {
  const instance = findings.instance(id)
  if (instance === undefined) throw noInstance(id)
  const { ref, goneAt } = instance
  if (ref === null) throw beingMade(instance)
  if (goneAt !== null) throw new FleetError('conflict', `'${instance.name}' is on its host no more`)
  return { ...instance, ref }
}

function noInstance(id: string): FleetError {
  return new FleetError('not_found', `there is no instance '${id}'`)
}

function beingMade({ name }: Pick<InstanceInfo, 'name'>): FleetError {
  return new FleetError('conflict', `'${name}' is still being made`)
}

function shown({ id, groupId, host, type, ref, name, state, ...rest }: InstanceInfo): InstanceInfo {
  const { mounts, configHash, createdAt, seenAt, goneAt, movedTo, version } = rest
  return { id, groupId, host, type, ref, name, state, mounts, configHash, createdAt, seenAt, goneAt, movedTo, version }
}

/** What a read of its row would give. */
function beingCreated({ groupId, host }: KeptInstance, made: Pick<InstanceInfo, 'id' | 'type' | 'name'>): InstanceInfo {
  const untold = { ref: null, mounts: [], configHash: null, seenAt: null, goneAt: null, movedTo: null }
  return { ...made, ...untold, groupId, host, state: 'CREATING', createdAt: new Date(), version: 1 }
}
