import { FleetError } from '../../shared/errors.ts'
import type { InstanceType } from '../../shared/instance-spec.ts'
import type { Caller } from './caller.ts'
import { type FleetView, requireOnline } from './fleet-view.ts'
import type { MovePhase } from './instance-moves.ts'
import type { InstanceOrders } from './instances.ts'
import type { OrderTask } from './orders.ts'
import { instanceDatasetNames } from './point-instances.ts'
import type { PointOrders } from './point-orders.ts'

/** What the orders of a move's steps are made of. */
export interface OrderedMove {
  readonly id: string
  readonly number: number
  readonly groupId: string
  readonly instanceId: string
  readonly ref: string | null
  readonly type: InstanceType
  readonly name: string
  readonly fromHost: string
  readonly toHost: string
  readonly toPool: string | null
  readonly targetId: string | null
  readonly basePointId: string | null
  readonly finalPointId: string | null
  /** Of the dataset that is there. */
  readonly datasetName: string | undefined
  /** Whether it is to run there. */
  readonly start: boolean
  /** Where its points lie, below the target's base. */
  readonly directory: string
}

/** The caller that a move's own work is done as: whoever asked for it had these rights. */
export function moveCaller({ number, groupId }: Pick<OrderedMove, 'number' | 'groupId'>): Caller {
  const subject = `migration:${number}`
  return { subject, userId: null, groupId, role: 'operator', fleetRole: 'operator', via: 'system', request: null }
}

type Ordering = (move: OrderedMove, task: OrderTask) => Promise<unknown>

/** How the order of each step is placed. @throws what placing it throws */
export function createMoveOrders(deps: {
  readonly points: Pick<PointOrders, 'order' | 'restore'>
  readonly instances: Pick<InstanceOrders, 'start' | 'stop'>
  readonly fleet: FleetView
}): Readonly<Partial<Record<MovePhase, Ordering>>> {
  const { points, instances, fleet } = deps

  function point(move: OrderedMove, task: OrderTask, how: { hold: 'none' | 'pause'; incremental: boolean }) {
    const { ref, type, fromHost, targetId, directory } = move
    if (ref === null) throw gone(move)
    if (targetId === null) throw new FleetError('not_found', 'the target that it goes over was deleted')
    const { hold, incremental } = how
    const source = { instance: ref, type, host: fromHost, hold }
    const request = { source, target: targetId, path: directory, incremental }
    return points.order(moveCaller(move), request, task, fromHost)
  }

  return {
    copy: (move, task) => point(move, task, { hold: 'none', incremental: false }),

    /** Named after it, as what a restore makes for it is. */
    async precopy(move, task) {
      const { type, name, toHost, toPool } = move
      for (const newDataset of [...instanceDatasetNames(name), `migration-${move.id}`]) {
        const destination = { newDataset, host: toHost, pool: toPool ?? undefined, madeFor: { type, name } }
        try {
          return await points.restore(moveCaller(move), pointId(move.basePointId), { destination }, undefined, task)
        } catch (error) {
          if (!(error instanceof FleetError && error.code === 'exists')) throw error
        }
      }
      throw new FleetError('exists', 'every name that its dataset could have is taken')
    },

    /** Only when it could be started there at once. */
    async stop(move, task) {
      requireOnline(fleet, move.toHost)
      return instances.stop(moveCaller(move), move.instanceId, {}, { task })
    },

    // It stands still already; the pause holds one that somebody started meanwhile, which its end tells.
    final: (move, task) => point(move, task, { hold: 'pause', incremental: true }),

    async switch(move, task) {
      const { type, name, toHost, start, datasetName } = move
      if (datasetName === undefined) throw new FleetError('not_found', 'the dataset that was made for it there is gone')
      const onto = { dataset: datasetName, from: pointId(move.basePointId) }
      const destination = { instance: name, type, host: toHost, start, onto }
      return points.restore(moveCaller(move), pointId(move.finalPointId), { destination }, undefined, task)
    },

    async restart(move, task) {
      if (move.ref === null) throw gone(move)
      return instances.start(moveCaller(move), move.instanceId, { task })
    },
  }
}

function pointId(id: string | null): string {
  if (id === null) throw new FleetError('internal', 'internal error', { detail: 'a step without its point' })
  return id
}

function gone({ name, fromHost }: OrderedMove): FleetError {
  return new FleetError('not_found', `'${name}' is on host '${fromHost}' no more`)
}
