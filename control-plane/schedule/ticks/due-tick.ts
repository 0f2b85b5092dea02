import { decideDue } from '../../core/schedule-due.ts'
import type { RunStore } from '../../db/stores/run-store.ts'

/** Schedules in one transaction. */
const BATCH = 500
/** Batches in one tick, so that it ends; the next goes on a second later. */
const MAX_BATCHES = 200

/**
 * Writes the rows of the instants that have come by now: the newest of each schedule waits to be fired, older ones were
 * missed. What a clock that ran ahead has written is taken back first.
 */
export function createDueTick(deps: {
  readonly store: RunStore
  readonly now: () => Promise<number>
}): () => Promise<void> {
  const { store, now } = deps
  return async () => {
    const bounds = { nowMs: await now(), limit: BATCH }
    await all(() => store.rewind(bounds))
    await all(() => store.replan(BATCH))
    await all(() => store.begin(BATCH))
    await all(() => store.due(bounds, decideDue))
    await all(() => store.expire(bounds))
  }
}

async function all(batch: () => Promise<number>): Promise<void> {
  for (let n = 0; n < MAX_BATCHES; n += 1) if ((await batch()) < BATCH) return
}
