import { z } from 'zod'
import { WorkMessage, WorkOrder } from '../../shared/wire/messages.ts'

const Message = WorkMessage.extend({ orders: z.array(z.unknown()) })
const Addressed = WorkOrder.pick({ jobId: true, attempt: true })
type Addressed = z.infer<typeof Addressed>

export interface ReadOrders {
  readonly orders: readonly WorkOrder[]
  /** Of a kind, or with something in it, that this agent does not know: a newer control plane's. */
  readonly unknown: readonly Addressed[]
  /** What was wrong with the first of those that could not be read. */
  readonly error?: string
}

/** Each order of a message by itself: one that cannot be read keeps none of the others. None of them for another version. */
export function readOrders(text: string): ReadOrders {
  const orders: WorkOrder[] = []
  const unknown: Addressed[] = []
  let error: string | undefined
  try {
    for (const one of Message.parse(JSON.parse(text)).orders) {
      const order = WorkOrder.safeParse(one)
      if (order.success) {
        orders.push(order.data)
        continue
      }
      error ??= String(order.error)
      const { data } = Addressed.safeParse(one)
      if (data !== undefined) unknown.push(data)
    }
  } catch (thrown) {
    error ??= String(thrown)
  }
  return error === undefined ? { orders, unknown } : { orders, unknown, error }
}
