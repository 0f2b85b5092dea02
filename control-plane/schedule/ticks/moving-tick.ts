import { toFleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import { SYSTEM_CALLER } from '../../core/caller.ts'
import type { PointOrders } from '../../core/point-orders.ts'
import type { PruneStore } from '../../db/stores/prune-store.ts'

/** Of one tick, so that it ends. */
const MOVE_LIMIT = 100

/** Orders what retention deleted into the trash, and what is wanted back out of it. */
export function createMovingTick(deps: {
  readonly store: Pick<PruneStore, 'movable' | 'unplaced'>
  readonly points: Pick<PointOrders, 'move'>
  readonly now: () => Promise<number>
  readonly logger: Logger
}): () => Promise<void> {
  const { store, points, now, logger } = deps
  return async () => {
    for (const { id, groupId, kind } of await store.movable({ nowMs: await now(), limit: MOVE_LIMIT })) {
      try {
        await points.move({ ...SYSTEM_CALLER, groupId }, id, kind)
      } catch (error) {
        // Its host is away: another tick comes back to it. Or it is wanted otherwise since.
        const { code } = toFleetError(error)
        logger.info({ event: 'point.unmoved', point: id, kind, code })
        if (code === 'unavailable' || code === 'busy') await store.unplaced(id, kind)
      }
    }
  }
}
