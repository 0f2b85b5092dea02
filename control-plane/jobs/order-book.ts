import assert from 'node:assert/strict'
import { createBatcher } from '../../shared/batcher.ts'
import type { Order, OrderBook } from '../core/orders.ts'
import { isRefusal } from '../db/sql.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { OwedOrder } from '../db/stores/dispatch-store.ts'
import type { OrderStore, Placed } from '../db/stores/order-store.ts'
import type { PlacedBefore } from '../db/stores/placed-before.ts'
import type { Dispatch } from './dispatch.ts'

/** Orders decided and written in one transaction. */
const MAX_GROUP = 128
/** The same of runs of schedules, of which a night brings thousands at once: clients do not wait behind them. */
const MAX_RUNS = 256
/** Groups of runs at a time: while Postgres writes one, another is decided. */
const RUN_LANES = 2
const MAX_WAITING = 10_000
const GATHER_MS = 2

/** An interactive order that has not started by then must ask before it does: the client gives up a second later. */
export const START_WITHIN_MS = 3_000

/** Places orders in groups and hands those that hold their lanes straight to their hosts; the others wake the dispatcher. */
export function createOrderBook(deps: {
  readonly store: OrderStore
  readonly changes: Pick<ChangeStore, 'expect'>
  readonly dispatch: Pick<Dispatch, 'send' | 'wake'>
  /** The time that every replica goes by: another may withdraw what we place. */
  readonly now?: () => number
}): OrderBook {
  const { now = Date.now } = deps

  async function work(orders: readonly Order[]) {
    const placed = await deps.store.place(orders, now() + START_WITHIN_MS)
    const accepted = placed.filter((answer): answer is Placed => 'job' in answer)
    handOver(accepted, deps)
    return placed
  }

  const common = { maxWaiting: MAX_WAITING, mayRetry: isRefusal, gatherMs: GATHER_MS, work }
  const placeAny = createBatcher<Order, Placed | PlacedBefore>({ ...common, maxItems: MAX_GROUP })
  const placeRun = Array.from({ length: RUN_LANES }, () =>
    createBatcher<Order, Placed | PlacedBefore>({ ...common, maxItems: MAX_RUNS }),
  )
  let runs = 0

  function place(order: Order): Promise<Placed | PlacedBefore> {
    if (order.task?.kind !== 'run') return placeAny(order)
    // Whole groups in turn: those of one host come together and share messages.
    const lane = placeRun[Math.floor(runs / MAX_RUNS) % RUN_LANES] ?? placeAny
    runs += 1
    return lane(order)
  }

  return {
    async place(order) {
      return { jobId: jobIdOf(await place(order)) }
    },

    async placeNew(order) {
      const placed = await place(order)
      assert(placed.dataset, 'an order that makes a dataset was placed without one')
      return { jobId: jobIdOf(placed), dataset: placed.dataset }
    },
  }
}

function jobIdOf(placed: Placed | PlacedBefore): string {
  return 'job' in placed ? placed.job.id : placed.jobId
}

interface Takers {
  readonly changes: Pick<ChangeStore, 'expect'>
  readonly dispatch: Pick<Dispatch, 'send' | 'wake'>
}

/** What was placed goes to its host where it holds its lanes; the rest waits for them. */
export function handOver(placed: readonly Placed[], { changes, dispatch }: Takers): void {
  for (const { job } of placed) changes.expect(job)
  const granted = placed.filter(({ job }) => job.state === 'dispatched')
  dispatch.send(granted.map(owed))
  if (granted.length < placed.length) dispatch.wake()
}

function owed({ job, notAfterMs }: Placed): OwedOrder {
  return { jobId: job.id, host: job.host, attempt: job.attempt, spec: job.spec, notAfterMs }
}
