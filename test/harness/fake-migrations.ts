import { randomUUID } from 'node:crypto'
import { type Caller, requireRole } from '../../control-plane/core/caller.ts'
import { requireCondition } from '../../control-plane/core/condition.ts'
import type { InstanceMove, InstanceMoves } from '../../control-plane/core/instance-moves.ts'
import type { Instances } from '../../control-plane/core/instances.ts'
import { FleetError } from '../../shared/errors.ts'

/** Migrations that go on for ever, until they are stopped. */
export function createFakeMigrations(instances: Pick<Instances, 'get'>): InstanceMoves {
  const moves = new Map<string, InstanceMove>()
  function find(caller: Caller, id: string): InstanceMove {
    const move = moves.get(id)
    if (!move || move.groupId !== caller.groupId) throw new FleetError('not_found', `there is no migration '${id}'`)
    return move
  }

  return {
    async create(caller, instanceId, { host, pool = null, target }) {
      requireRole(caller, 'operator')
      const { id, type, name, host: from, groupId } = await instances.get(caller, instanceId)
      if (target === 'local') throw new FleetError('invalid', 'name a target', { field: 'target' })
      const move: InstanceMove = {
        ...{ id: randomUUID(), number: moves.size + 1, groupId, instance: { id, type, name, host: from } },
        ...{ to: { host, pool, instanceId: null }, target: { id: target, name: 'nas' }, phase: 'copy', outcome: null },
        ...{ reason: null, progress: -1, jobId: randomUUID(), downtimeMs: null, isStopping: false },
        ...{ createdAt: new Date('2026-01-02T03:04:05.678Z'), endedAt: null, version: 1 },
      }
      moves.set(move.id, move)
      return move
    },
    get: async (caller, id) => find(caller, id),
    async list(caller, { instance }, { limit }) {
      const items = [...moves.values()]
        .filter((move) => move.groupId === caller.groupId && (!instance || move.instance.id === instance))
        .toReversed()
      return { items: items.slice(0, limit), nextCursor: items.length > limit ? 'more' : null }
    },
    async stop(caller, id, ifMatch) {
      requireRole(caller, 'operator')
      const move = find(caller, id)
      requireCondition(ifMatch, move)
      const stopped: InstanceMove = { ...move, isStopping: true, version: move.version + 1 }
      moves.set(id, stopped)
      return stopped
    },
  }
}
