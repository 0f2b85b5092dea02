import { toFleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import { SYSTEM_CALLER } from '../../core/caller.ts'
import type { Datasets } from '../../core/datasets.ts'
import type { ClaimedDataset, SupersededStore } from '../../db/stores/superseded-store.ts'

const LIMIT = 50
/** Ever more rarely, for about five hours in all. */
const MAX_ATTEMPTS = 12

/** Deletes the datasets of instances that were replaced. What somebody still uses stays, and the log says why. */
export function createSupersededTick(deps: {
  readonly store: SupersededStore
  readonly datasets: Pick<Datasets, 'delete'>
  readonly now: () => Promise<number>
  readonly logger: Logger
}): () => Promise<void> {
  const { store, datasets, now, logger } = deps

  async function remove({ id, groupId, name, users, attempts }: ClaimedDataset): Promise<void> {
    let reason = users.length === 0 ? 'its deletion failed before' : `it is used by ${users.join(', ')}`
    if (users.length === 0 && attempts <= MAX_ATTEMPTS) {
      try {
        await datasets.delete({ ...SYSTEM_CALLER, groupId }, { name, ifMatch: (found) => found.id === id })
        return
      } catch (error) {
        reason = toFleetError(error).message
      }
    }
    const isLast = attempts >= MAX_ATTEMPTS
    logger.warn({ event: 'dataset.superseded', dataset: id, attempts, reason, isLast })
    if (isLast) await store.forget(id)
    else await store.explain(id, reason)
  }

  return async () => {
    for (const dataset of await store.claim({ nowMs: await now(), limit: LIMIT })) {
      if (!dataset.isSuperseded) await store.forget(dataset.id)
      else if (!dataset.isDeleting) await remove(dataset)
    }
  }
}
