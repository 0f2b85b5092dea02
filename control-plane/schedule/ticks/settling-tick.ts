import { toFleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import type { Caller } from '../../core/caller.ts'
import type { PointOrders } from '../../core/point-orders.ts'
import { MAX_WAIT_MS } from '../../core/schedule-due.ts'
import { endOfRun, failed } from '../../core/schedule-ends.ts'
import { taskCaller } from '../../core/schedule-sources.ts'
import type { FiringRun, FiringStore } from '../../db/stores/firing-store.ts'
import { isHopeless } from './firing-tick.ts'

const BATCH = 500
const MAX_BATCHES = 20
const STOPS_LIMIT = 200

export interface SettlingTick {
  /** Settles runs whose jobs have ended, has points verified where that is wanted, and stops what is still to be stopped. */
  all(): Promise<void>
  /** The same for runs that wait for one of these jobs, without a look at the others. */
  endsOf(jobIds: readonly string[]): Promise<void>
}

export function createSettlingTick(deps: {
  readonly store: FiringStore
  readonly points: Pick<PointOrders, 'verify'>
  readonly cancel: (caller: Caller, jobId: string) => Promise<void>
  /** Later than this after its time a run was late. */
  readonly graceMs: number
  readonly now: () => Promise<number>
  readonly logger: Logger
}): SettlingTick {
  const { store, points, graceMs, now, logger } = deps

  async function verify({ id, pointId, schedule, waitedMs }: FiringRun & { readonly waitedMs: number }, atMs: number) {
    const caller = taskCaller({ ...schedule, kind: 'schedule' })
    try {
      await points.verify(caller, pointId ?? '', undefined, { kind: 'verify', id, atMs })
    } catch (error) {
      const { code, message } = toFleetError(error)
      logger.warn({ event: 'schedule.unverified', schedule: schedule.id, run: id, code, error: String(error) })
      // Whoever stopped it meanwhile is answered by the next tick.
      if (!isHopeless(error) && waitedMs < MAX_WAIT_MS) return
      await store.end({ id, from: 'running' }, atMs, failed(`the point could not be verified: ${message}`))
    }
  }

  /** @returns how many ended. */
  async function settle(nowMs: number, jobIds?: readonly string[]): Promise<number> {
    const bounds = { nowMs, limit: BATCH, jobIds }
    const { count, verify: unverified } = await store.settle(bounds, (run) => endOfRun({ ...run, graceMs }))
    for (const run of unverified) await verify(run, nowMs)
    return count
  }

  return {
    async all() {
      const nowMs = await now()
      for (const { jobId, schedule } of await store.stopsOwed(STOPS_LIMIT)) {
        const caller = taskCaller({ ...schedule, kind: 'schedule' })
        await deps.cancel(caller, jobId).catch((error: unknown) => {
          logger.warn({ event: 'schedule.unstopped', schedule: schedule.id, jobId, error: String(error) })
        })
      }
      for (let n = 0; n < MAX_BATCHES; n += 1) if ((await settle(nowMs)) < BATCH) return
    },

    async endsOf(jobIds) {
      if (jobIds.length === 0) return
      const nowMs = await now()
      for (let n = 0; n < jobIds.length; n += BATCH) await settle(nowMs, jobIds.slice(n, n + BATCH))
    },
  }
}
