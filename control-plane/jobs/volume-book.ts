import type { VolumeBook } from '../core/volume-book.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { VolumeOrderStore } from '../db/stores/volume-order-store.ts'
import type { Dispatch } from './dispatch.ts'
import { placingInTurn } from './in-turn.ts'
import { handOver } from './order-book.ts'

/** Places orders about volumes and hands those that hold their lanes straight to their hosts. */
export function createVolumeBook(deps: {
  readonly store: VolumeOrderStore
  readonly changes: Pick<ChangeStore, 'expect'>
  readonly dispatch: Pick<Dispatch, 'send' | 'wake'>
  readonly now?: (() => number) | undefined
}): VolumeBook {
  const place = placingInTurn(deps.store, deps.now)
  return {
    async place(order) {
      const { placed, jobIds, batchId } = await place(order)
      handOver(placed, deps)
      return { jobIds, batchId }
    },
  }
}
