import { headers, type NatsConnection } from 'nats'
import type { Logger } from '../../shared/logger.ts'
import { type CancelHint, WIRE_VERSION, type WorkMessage, workMessageId } from '../../shared/wire/messages.ts'
import { subjects } from '../../shared/wire/subjects.ts'
import type { DispatchStore, OwedOrder } from '../db/stores/dispatch-store.ts'

/** Jobs claimed in one statement. */
const CLAIM_LIMIT = 256
/** Orders in one message: well below NATS' 1 MiB, and few enough to share an end. */
const MESSAGE_ORDERS = 64
const REPUBLISH_LIMIT = 1_000
const CANCEL_LIMIT = 1_000
/** A sent order nobody has started by then is sent again. */
const REPUBLISH_AFTER_MS = 5_000

export interface Dispatch {
  /** Publishes orders that are `dispatched` in Postgres. What is lost on the way the next sweep sends again. */
  send(orders: readonly OwedOrder[]): void
  /** Claims what is ready, soon; calls that come meanwhile are one. */
  wake(): void
  /** What a replica owes whatever woke it: claim, send again, remind of cancellations. */
  sweep(): Promise<void>
  hintCancel(job: { readonly id: string; readonly host: string; readonly attempt: number }): void
}

export function createDispatch(deps: {
  readonly store: DispatchStore
  readonly nats: NatsConnection
  readonly logger: Logger
}): Dispatch {
  const { store, nats, logger } = deps
  let claiming: Promise<void> | undefined
  let again = false

  function send(orders: readonly OwedOrder[]): void {
    for (const [host, together] of Map.groupBy(orders, (order) => order.host)) {
      for (let from = 0; from < together.length; from += MESSAGE_ORDERS) {
        sendTogether(host, together.slice(from, from + MESSAGE_ORDERS))
      }
    }
  }

  function sendTogether(host: string, orders: readonly OwedOrder[]): void {
    const message: WorkMessage = {
      v: WIRE_VERSION,
      orders: orders.map(({ jobId, attempt, spec, notAfterMs }) => ({ jobId, attempt, spec, notAfter: notAfterMs })),
    }
    const header = headers()
    header.set('Nats-Msg-Id', workMessageId(host, orders))
    nats.publish(subjects.work(host), JSON.stringify(message), { headers: header })
    for (const { jobId, attempt } of orders) logger.debug({ event: 'job.sent', jobId, host, attempt })
  }

  async function claimAll(): Promise<void> {
    do {
      again = false
      const orders = await store.claim(CLAIM_LIMIT)
      send(orders)
      if (orders.length === CLAIM_LIMIT) again = true
    } while (again)
  }

  /** One claim loop at a time; who comes while it runs makes it go round once more. */
  function claim(): Promise<void> {
    again = true
    claiming ??= claimAll().finally(() => {
      claiming = undefined
    })
    return claiming
  }

  function hintCancel(job: { readonly id: string; readonly host: string; readonly attempt: number }): void {
    const hint: CancelHint = { v: WIRE_VERSION, jobId: job.id, attempt: job.attempt }
    nats.publish(subjects.cancel(job.host), JSON.stringify(hint))
  }

  return {
    send,
    hintCancel,
    wake() {
      claim().catch((error: unknown) => logger.warn({ event: 'dispatch.claim_failed', error: String(error) }))
    },
    async sweep() {
      await claim()
      send(await store.unstarted({ afterMs: REPUBLISH_AFTER_MS, limit: REPUBLISH_LIMIT }))
      for (const job of await store.cancelling(CANCEL_LIMIT)) hintCancel(job)
    },
  }
}
