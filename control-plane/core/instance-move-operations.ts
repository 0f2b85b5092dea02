import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { HostName } from '../../shared/ids.ts'
import { actingFor, type Caller, requireRole, visibleGroup } from './caller.ts'
import { checkKept } from './check-request.ts'
import { requireCondition } from './condition.ts'
import { choosePool, type FleetView, requireOnline } from './fleet-view.ts'
import { isForward } from './instance-move-steps.ts'
import type { InstanceMove, InstanceMoves, MoveFilter } from './instance-moves.ts'
import { standing } from './instance-orders.ts'
import type { InstanceReader, PresentInstance } from './instances.ts'
import { requireMadeHere } from './made-here.ts'
import type { Page, PageRequest } from './page.ts'
import { requireRootOnHost } from './point-to-instance.ts'
import { type Targets, targetNamed } from './targets.ts'
import { changeVersion } from './version-change.ts'

const Request = z.object({
  host: HostName,
  pool: HostName.optional(),
  target: z.string(),
  start: z.boolean().optional(),
})

/** What Postgres must answer for moves. `groupId` null: of any group. */
export interface InstanceMoveStore {
  find(groupId: string | null, id: string): Promise<InstanceMove | undefined>
  list(groupId: string | null, filter: MoveFilter, page: PageRequest): Promise<Page<InstanceMove>>
  /** @throws conflict: it is on its way already, or its target went in that moment. */
  create(
    caller: Caller,
    instance: PresentInstance,
    to: {
      readonly host: string
      readonly pool: string | null
      readonly targetId: string
      readonly start: boolean | null
    },
  ): Promise<InstanceMove>
  /** @returns the job that is to be cancelled, null without one; undefined: it has another version by now. */
  stop(caller: Caller, move: InstanceMove): Promise<{ readonly jobId: string | null } | undefined>
}

export function createInstanceMoves(deps: {
  readonly store: InstanceMoveStore
  readonly targets: Pick<Targets, 'get'>
  readonly instances: Pick<InstanceReader, 'find' | 'named'>
  readonly fleet: FleetView
  readonly wake: () => void
  readonly cancel: (caller: Caller, jobId: string) => Promise<void>
}): InstanceMoves {
  const { store, targets, instances, fleet } = deps

  async function find(caller: Caller, id: string): Promise<InstanceMove> {
    const move = await store.find(visibleGroup(caller), id)
    if (move === undefined) throw new FleetError('not_found', `there is no migration '${id}'`)
    return move
  }

  return {
    async create(caller, instanceId, request) {
      requireRole(caller, 'operator')
      const found = await instances.find(visibleGroup(caller), instanceId)
      const instance = standing({ instance: () => found }, instanceId)
      const forGroup = actingFor(caller, instance.groupId)
      requireRole(forGroup, 'operator')
      requireMadeHere(instance.type, 'id')
      // It comes back from a target.
      requireRootOnHost(caller, instance.type, 'id')
      const { host, pool, target: wanted, start } = checkKept(Request, request)
      if (wanted === 'local') {
        const message = 'a migration goes over a target that both hosts reach; name one'
        throw new FleetError('invalid', message, { field: 'target' })
      }
      const target = await targetNamed(targets, forGroup, { id: wanted, field: 'target' })
      if (host === instance.host) {
        throw new FleetError('invalid', `'${instance.name}' is on host '${host}' already`, { field: 'host' })
      }
      choosePool(fleet, { host, pool })
      requireOnline(fleet, host)
      requireOnline(fleet, instance.host)
      await requireMovable({ instances }, instance, host)
      const to = { host, pool: pool ?? null, targetId: target.id, start: start ?? null }
      const move = await store.create(forGroup, instance, to)
      deps.wake()
      return move
    },

    get: find,

    list: (caller, filter, page) => store.list(visibleGroup(caller), filter, page),

    async stop(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      const stopped = await changeVersion(
        async () => {
          const move = await find(caller, id)
          requireRole(actingFor(caller, move.groupId), 'operator')
          requireCondition(ifMatch, move)
          return move
        },
        async (move) => {
          if (!isForward(move.phase) || move.outcome !== null) return { jobId: null }
          return store.stop(actingFor(caller, move.groupId), move)
        },
      )
      if (stopped.jobId !== null) await deps.cancel(actingFor(caller, (await find(caller, id)).groupId), stopped.jobId)
      deps.wake()
      return find(caller, id)
    },
  }
}

/** @throws conflict, exists. */
async function requireMovable(
  { instances }: { readonly instances: Pick<InstanceReader, 'named'> },
  { name, type, state }: PresentInstance,
  host: string,
): Promise<void> {
  if (state !== 'RUNNING' && state !== 'STOPPED') {
    throw new FleetError('conflict', `'${name}' is ${state}: only one that runs or is stopped can be migrated`)
  }
  const taken = await instances.named(null, { instance: name, type, host })
  if (taken.some((one) => one.name === name)) {
    throw new FleetError('exists', `there is '${name}' on host '${host}' already`, { field: 'host' })
  }
}
