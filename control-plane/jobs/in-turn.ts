import { createBatcher } from '../../shared/batcher.ts'
import { FleetError } from '../../shared/errors.ts'
import { START_WITHIN_MS } from './order-book.ts'

const MAX_WAITING = 1_000

/**
 * Places orders that take turns over the whole fleet one at a time: more of them would only wait in more connections.
 * @param now the time that every replica goes by
 * @throws what the store refuses an order with; busy
 */
export function placingInTurn<Order, Placed>(
  store: { place(order: Order, notAfterMs: number): Promise<Placed> },
  now: () => number = Date.now,
): (order: Order) => Promise<Placed> {
  async function placeOne(order: Order): Promise<Placed | FleetError> {
    try {
      return await store.place(order, now() + START_WITHIN_MS)
    } catch (error) {
      if (error instanceof FleetError) return error
      throw error
    }
  }

  return createBatcher<Order, Placed>({
    maxItems: 1,
    maxWaiting: MAX_WAITING,
    mayRetry: () => false,
    work: (orders) => Promise.all(orders.map(placeOne)),
  })
}
