import { createBatcher } from '../../shared/batcher.ts'
import { FleetError } from '../../shared/errors.ts'
import type { CaptureBook, CaptureOrder } from '../core/instance-capture-book.ts'
import type { CaptureOrderStore, PlacedCapture } from '../db/stores/capture-order-store.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { Dispatch } from './dispatch.ts'
import { owed, START_WITHIN_MS } from './order-book.ts'

const MAX_WAITING = 1_000

/** Places orders about snapshots of instances, one at a time: they take their turn among those about volumes. */
export function createCaptureBook(deps: {
  readonly store: CaptureOrderStore
  readonly changes: Pick<ChangeStore, 'expect'>
  readonly dispatch: Pick<Dispatch, 'send' | 'wake'>
}): CaptureBook {
  const { store, changes, dispatch } = deps

  async function placeOne(order: CaptureOrder): Promise<PlacedCapture | FleetError> {
    try {
      return await store.place(order, Date.now() + START_WITHIN_MS)
    } catch (error) {
      if (error instanceof FleetError) return error
      throw error
    }
  }

  const place = createBatcher<CaptureOrder, PlacedCapture>({
    maxItems: 1,
    maxWaiting: MAX_WAITING,
    mayRetry: () => false,
    work: (orders) => Promise.all(orders.map(placeOne)),
  })

  return {
    async place(order) {
      const { placed, jobId } = await place(order)
      if (placed === undefined) return { jobId }
      changes.expect(placed.job)
      if (placed.job.state === 'dispatched') dispatch.send([owed(placed)])
      else dispatch.wake()
      return { jobId }
    },
  }
}
