import { toFleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import type { AlertStore, Delivery } from '../../db/stores/alert-store.ts'
import type { Committed } from '../../db/stores/change-write.ts'
import type { Webhook } from '../webhook.ts'

const LIMIT = 500
const MAX_BATCHES = 50
const DELIVERIES = 10
/** A delivery is tried so often, ever more rarely: for about nine hours in all. */
const MAX_ATTEMPTS = 12
const FIRST_WAIT_SECONDS = 10
const LAST_WAIT_SECONDS = 3_600

export interface AlertTick {
  /** Every second. */
  raise(): Promise<void>
  /** Every second or two; a slow webhook holds up nobody else. */
  deliver(): Promise<void>
  /** As of the last tick. */
  overdueCount(): number
}

/** Tells the feed, and the webhook where there is one, of schedules that are overdue and of those that no longer are. */
export function createAlertTick(deps: {
  readonly store: AlertStore
  readonly webhook: Webhook | undefined
  readonly graceMs: number
  readonly now: () => Promise<number>
  readonly afterCommit: (committed: Committed) => void
  readonly logger: Logger
}): AlertTick {
  const { store, webhook, graceMs, now, afterCommit, logger } = deps
  let overdue = 0

  async function deliver(tell: Webhook, { id, body, attempts }: Delivery): Promise<void> {
    try {
      await tell({ id, body })
      await store.delivered(id)
    } catch (error) {
      const { code, message } = toFleetError(error)
      const isLast = attempts >= MAX_ATTEMPTS
      logger.warn({ event: 'alert.undelivered', alert: id, attempts, code, error: message, isLast })
      const wait = Math.min(LAST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (attempts - 1))
      await store.undelivered(id, message, isLast ? null : wait)
    }
  }

  return {
    async raise() {
      const nowMs = await now()
      for (let n = 0; n < MAX_BATCHES; n += 1) {
        const committed = await store.raise({ nowMs, graceMs, limit: LIMIT, webhook: webhook !== undefined })
        if (committed === undefined) break
        afterCommit(committed)
      }
      overdue = await store.overdue()
    },

    async deliver() {
      if (webhook === undefined) return
      const owed = await store.claim(DELIVERIES)
      await Promise.all(owed.map((alert) => deliver(webhook, alert)))
      await store.prune()
    },

    overdueCount: () => overdue,
  }
}
