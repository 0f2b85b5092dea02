import { FleetError } from '../../shared/errors.ts'
import type { OrderTarget } from '../../shared/point-spec.ts'
import { type Caller, requireRole } from './caller.ts'
import { checkKept } from './check-request.ts'
import { requireCondition } from './condition.ts'
import type { Accepted } from './datasets.ts'
import type { FleetView } from './fleet-view.ts'
import { type Decision, type Findings, type LockedPoint, type OrderBook, type OrderTask, orderOf } from './orders.ts'
import type { InstanceNames } from './point-instances.ts'
import {
  hostThatReads,
  type KeptPoint,
  localTarget,
  noPoint,
  orderTarget,
  type PointOrders,
  type PointReader,
  readableOf,
  shownTo,
} from './point-orders.ts'
import { RestorePointRequest } from './point-requests.ts'
import { decideRestore, requireReach } from './point-restore.ts'
import { intoInstance, namesOf, planInstance } from './point-to-instance.ts'
import { aloneWith, decideMove } from './point-trash.ts'
import type { KeptTarget } from './targets.ts'

/** What is ordered about points that are there. */
export function createPointWork(deps: {
  readonly orders: OrderBook
  readonly fleet: FleetView
  readonly instances: InstanceNames
  readonly reader: Pick<PointReader, 'datasetsOf'>
  readonly find: (caller: Caller, id: string) => Promise<KeptPoint>
  readonly targetOf: (caller: Caller, id: string | undefined) => Promise<KeptTarget | undefined>
}): Pick<PointOrders, 'verify' | 'rehearse' | 'restore' | 'writeLun' | 'delete' | 'move'> {
  const { orders, fleet, find, targetOf } = deps

  async function orderAbout(
    caller: Caller,
    id: string,
    work: {
      readonly request: unknown
      readonly names?: readonly string[] | undefined
      readonly instances?: readonly string[]
      readonly retryOf: string | undefined
      readonly task?: OrderTask | undefined
      decide(about: About): Omit<Decision, 'request' | 'interactive'>
    },
  ): Promise<Accepted> {
    requireRole(caller, 'operator')
    const info = await find(caller, id)
    const kept = await targetOf(caller, info.target?.id)
    const target = kept ? orderTarget(kept) : localTarget(caller.groupId)
    const { request, names = [], instances = [], retryOf } = work
    const order = orderOf(caller, names, (findings) => {
      const point = findings.withPointId(info.id)
      if (point === undefined) throw noPoint(id)
      const decision = work.decide({ info, point, target, findings })
      return { ...decision, request, interactive: false, ...(retryOf === undefined ? {} : { retryOf }) }
    })
    return orders.place({ ...order, task: work.task, points: { ids: [info.id] }, instances })
  }

  return {
    verify: (caller, id, retryOf, task) =>
      orderAbout(caller, id, {
        request: { id },
        retryOf,
        task,
        decide({ point, target, findings }) {
          const { readable, holds } = readableOf(findings, point, target)
          const { id: hostId, name } = hostThatReads(fleet, point)
          return { spec: { kind: 'point.verify', ...readable }, host: { id: hostId, name }, subject: null, holds }
        },
      }),

    rehearse: (caller, id, retryOf) =>
      orderAbout(caller, id, {
        request: { id },
        retryOf,
        decide({ point, target, findings }) {
          const { readable, holds } = readableOf(findings, point, target)
          const { id: hostId, name } = hostThatReads(fleet, point)
          const pool = roomiestPool(fleet, name)
          const spec = { kind: 'point.rehearse', ...readable, pool } as const
          return { spec, host: { id: hostId, name }, subject: null, holds }
        },
      }),

    async restore(caller, id, request, retryOf, task) {
      requireRole(caller, 'operator')
      const asked = checkKept(RestorePointRequest, { ...request, id })
      const { destination } = asked
      if ('onto' in destination && destination.onto && task?.kind !== 'move')
        throw new FleetError('conflict', 'this was a step of a migration; ask for another migration')
      const plan =
        'instance' in destination ? await planInstance(deps, caller, await find(caller, id), destination) : undefined
      const names = 'dataset' in destination ? [destination.dataset] : plan && namesOf(plan)
      return orderAbout(caller, id, {
        request: asked,
        names,
        instances: plan?.replaced ? [plan.replaced.id] : [],
        retryOf,
        task,
        decide({ info, point, target, findings }) {
          requireNoVolume(info)
          const question = { caller, asked, fleet, findings, point, ...readableOf(findings, point, target) }
          return plan ? intoInstance(question, plan) : decideRestore(question)
        },
      })
    },

    writeLun: (caller, id, { host: name, connection, sizeBytes }, task) =>
      orderAbout(caller, id, {
        request: { id },
        retryOf: undefined,
        task,
        decide({ point, target, findings }) {
          const { readable, holds } = readableOf(findings, point, target)
          const host = fleet.host(name)
          if (!host?.isOnline) throw new FleetError('unavailable', `host '${name}' is offline`)
          requireReach(point, name, 'volume')
          const spec = { kind: 'lun.restore', ...readable, connection, sizeBytes } as const
          return { spec, host: { id: host.id, name }, subject: null, holds }
        },
      }),

    delete: (caller, id, ifMatch, retryOf) =>
      orderAbout(caller, id, {
        request: { id },
        retryOf,
        decide({ info, point, target, findings }) {
          const { status, isDeleting, pinned, version } = point
          requireCondition(ifMatch, { ...shownTo(caller, info), status, isDeleting, pinned, version })
          requireDeletable(point, findings)
          const { id: hostId, name } = hostThatReads(fleet, point)
          const { series, sumsSha256 } = point
          return {
            point: { remove: point.id },
            spec: {
              ...{ kind: 'point.delete', target, series, pointId: point.id, name: point.name },
              failed: status === 'failed',
              trashed: point.isTrashed,
              ...(sumsSha256 === null ? {} : { sumsSha256 }),
            },
            host: { id: hostId, name },
            subject: null,
            holds: aloneWith(point),
          }
        },
      }),

    move: (caller, id, kind, retryOf) =>
      orderAbout(caller, id, {
        request: { id },
        retryOf,
        decide: ({ point, target }) => decideMove({ kind, point, target, fleet }),
      }),
  }
}

/** What work on a point is decided on. */
interface About {
  readonly info: KeptPoint
  readonly point: LockedPoint
  readonly target: OrderTarget
  readonly findings: Findings
}

/** @throws conflict. */
function requireDeletable(point: LockedPoint, findings: Findings): void {
  if (point.isDeleting) throw new FleetError('conflict', 'the point is being deleted')
  if (point.status === 'running')
    throw new FleetError('conflict', 'the point is still being made; cancel its job first')
  if (point.pinned) throw new FleetError('conflict', 'the point is pinned')
  const blockers = findings.dependants(point.id).map(({ id }) => id)
  if (blockers.length > 0) throw new FleetError('conflict', 'other points rest on this one', { blockers })
}

/** What its archive holds are pieces of an image, of no use to anybody as files. @throws invalid. */
function requireNoVolume({ source }: KeptPoint): void {
  if (source.kind !== 'volume') return
  throw new FleetError('invalid', 'a point of a volume can be restored as a volume only', { field: 'destination' })
}

/** The agent's own name of the host's pool with most free bytes. @throws refused when it has none. */
function roomiestPool(fleet: FleetView, host: string): string {
  const [best] = [...fleet.pools()]
    .filter((pool) => pool.host.name === host)
    .toSorted((a, b) => b.freeBytes - a.freeBytes)
  if (best === undefined) throw new FleetError('refused', `host '${host}' has no pool to restore into`)
  return best.localName
}
