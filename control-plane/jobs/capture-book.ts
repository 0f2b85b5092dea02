import type { CaptureBook } from '../core/instance-capture-book.ts'
import type { CaptureOrderStore } from '../db/stores/capture-order-store.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { Dispatch } from './dispatch.ts'
import { placingInTurn } from './in-turn.ts'
import { handOver } from './order-book.ts'

/** Places orders about snapshots of instances: they take their turn among those about volumes. */
export function createCaptureBook(deps: {
  readonly store: CaptureOrderStore
  readonly changes: Pick<ChangeStore, 'expect'>
  readonly dispatch: Pick<Dispatch, 'send' | 'wake'>
  readonly now?: (() => number) | undefined
}): CaptureBook {
  const place = placingInTurn(deps.store, deps.now)
  return {
    async place(order) {
      const { placed, jobId } = await place(order)
      if (placed !== undefined) handOver([placed], deps)
      return { jobId }
    },
  }
}
