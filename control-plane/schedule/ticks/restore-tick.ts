import { FleetError, toFleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import type { Caller } from '../../core/caller.ts'
import type { PointOrders } from '../../core/point-orders.ts'
import { parsePortfolio, restoreRequest } from '../../core/restore-task-portfolio.ts'
import { taskCaller } from '../../core/schedule-sources.ts'
import type { EndedRestore, OwedRestore, RestoreTickStore } from '../../db/stores/restore-tick-store.ts'
import { isHopeless } from './firing-tick.ts'

const LIMIT = 100
const AGAIN_MS = 5_000

/** Places the orders of restore tasks, each linked in the transaction that writes it, and settles those that have ended. */
export function createRestoreTick(deps: {
  readonly store: RestoreTickStore
  readonly points: Pick<PointOrders, 'restore'>
  readonly cancel: (caller: Caller, jobId: string) => Promise<void>
  readonly now: () => Promise<number>
  readonly logger: Logger
}): () => Promise<void> {
  const { store, points, now, logger } = deps

  async function place(task: OwedRestore, atMs: number): Promise<void> {
    const { id, expiresMs } = task
    try {
      const { backup, point } = parsePortfolio(task.portfolio)
      const there = task.type === 'dataset' ? await store.hostOfDataset(task) : undefined
      const request = restoreRequest({ ...task, there })
      const found = await store.findPoint(task, backup, point)
      if (found === undefined) {
        const what = point === null ? 'no good point' : `no point '${point}'`
        throw new FleetError('not_found', `there is ${what} of the backup '${backup}' at that place`)
      }
      const caller = taskCaller({ ...task, kind: 'restore' })
      await points.restore(caller, found, request, undefined, { kind: 'restore', id, atMs })
    } catch (error) {
      const { code, message } = toFleetError(error)
      logger.warn({ event: 'restore.unplaced', restore: id, code, error: String(error) })
      if (isHopeless(error) || atMs >= expiresMs) await store.fail(id, message, atMs)
      else await store.wait(id, message, atMs + AGAIN_MS)
    }
  }

  return async () => {
    const nowMs = await now()
    for (const { jobId, ...task } of await store.stopsOwed(LIMIT)) {
      await deps.cancel(taskCaller({ ...task, kind: 'restore' }), jobId).catch((error: unknown) => {
        logger.warn({ event: 'restore.unstopped', restore: task.number, jobId, error: String(error) })
      })
    }
    for (const task of await store.claim({ nowMs, limit: LIMIT })) await place(task, nowMs)
    await store.settle({ nowMs, limit: LIMIT }, endOfRestore)
  }
}

function endOfRestore({ state, message, isStopped }: EndedRestore) {
  if (state === 'succeeded') return { result: 0, reason: null } as const
  if (state === 'cancelled') {
    return { result: -2, reason: isStopped ? 'somebody stopped it' : 'its job was cancelled' } as const
  }
  return { result: -1, reason: message ?? 'its job failed' } as const
}
