import { createBatcher } from '../../shared/batcher.ts'
import { FleetError } from '../../shared/errors.ts'
import type { VolumeBook, VolumeOrder } from '../core/volume-book.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { PlacedVolumes, VolumeOrderStore } from '../db/stores/volume-order-store.ts'
import type { Dispatch } from './dispatch.ts'
import { owed, START_WITHIN_MS } from './order-book.ts'

const MAX_WAITING = 1_000

/**
 * Places orders about volumes and hands those that hold their lanes straight to their hosts. One at a time: they take turns over the
 * whole fleet, so that more of them would only wait in more connections.
 */
export function createVolumeBook(deps: {
  readonly store: VolumeOrderStore
  readonly changes: Pick<ChangeStore, 'expect'>
  readonly dispatch: Pick<Dispatch, 'send' | 'wake'>
}): VolumeBook {
  const { store, changes, dispatch } = deps

  async function placeOne(order: VolumeOrder): Promise<PlacedVolumes | FleetError> {
    try {
      return await store.place(order, Date.now() + START_WITHIN_MS)
    } catch (error) {
      if (error instanceof FleetError) return error
      throw error
    }
  }

  const place = createBatcher<VolumeOrder, PlacedVolumes>({
    maxItems: 1,
    maxWaiting: MAX_WAITING,
    mayRetry: () => false,
    work: (orders) => Promise.all(orders.map(placeOne)),
  })

  return {
    async place(order) {
      const { placed, jobIds, batchId } = await place(order)
      for (const { job } of placed) changes.expect(job)
      const granted = placed.filter(({ job }) => job.state === 'dispatched')
      dispatch.send(granted.map(owed))
      if (granted.length < placed.length) dispatch.wake()
      return { jobIds, batchId }
    },
  }
}
