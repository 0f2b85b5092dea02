import type { VolumeBook } from '../core/volume-book.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { VolumeOrderStore } from '../db/stores/volume-order-store.ts'
import type { Dispatch } from './dispatch.ts'
import { placingInTurn } from './in-turn.ts'
import { owed } from './order-book.ts'

/** Places orders about volumes and hands those that hold their lanes straight to their hosts. */
export function createVolumeBook(deps: {
  readonly store: VolumeOrderStore
  readonly changes: Pick<ChangeStore, 'expect'>
  readonly dispatch: Pick<Dispatch, 'send' | 'wake'>
}): VolumeBook {
  const { store, changes, dispatch } = deps
  const place = placingInTurn(store)
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
