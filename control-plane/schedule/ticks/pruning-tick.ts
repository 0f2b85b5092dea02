import { toFleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import { SYSTEM_CALLER } from '../../core/caller.ts'
import type { PointOrders } from '../../core/point-orders.ts'
import { pruneOf } from '../../core/schedule-retention.ts'
import type { PruneStore } from '../../db/stores/prune-store.ts'

/** Of one tick, so that it ends. */
const MAX_PRUNES = 500
const PURGE_LIMIT = 100
/** Of one tick: more are the database's. */
const MAX_FAILURES = 20

/** Hides what a good run has made superfluous, has it moved, and removes the bytes of what was hidden when its undo window is over. */
export function createPruningTick(deps: {
  readonly store: PruneStore
  readonly points: Pick<PointOrders, 'delete'>
  readonly move: () => Promise<void>
  /** How long a deletion can be undone. */
  readonly windowMs: number
  readonly now: () => Promise<number>
  readonly logger: Logger
}): () => Promise<void> {
  const { store, points, move, windowMs, now, logger } = deps
  return async () => {
    const nowMs = await now()
    for (let n = 0, skip = 0; n < MAX_PRUNES; n += 1) {
      try {
        const at = { nowMs, purgeMs: nowMs + windowMs, skip }
        const gone = await store.prune(at, (schedule, kept) => pruneOf(schedule, kept, nowMs))
        if (gone === undefined) break
      } catch (error) {
        // One that cannot be decided keeps all it has, and holds up no other.
        logger.error({ event: 'schedule.unpruned', error: String(error) })
        skip += 1
        if (skip > MAX_FAILURES) break
      }
    }
    await move()
    for (const { id, groupId } of await store.purgeable({ nowMs, limit: PURGE_LIMIT })) {
      try {
        await points.delete({ ...SYSTEM_CALLER, groupId }, id)
      } catch (error) {
        // Its host is away, or somebody reads it: another tick comes back to it.
        logger.info({ event: 'point.unpurged', point: id, code: toFleetError(error).code })
      }
    }
  }
}
