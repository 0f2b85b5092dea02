import { headers, type NatsConnection } from 'nats'
import { FleetError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import {
  type CancelHint,
  WIRE_VERSION,
  type WorkMessage,
  type WorkOrder,
  workMessageId,
} from '../../shared/wire/messages.ts'
import { subjects } from '../../shared/wire/subjects.ts'
import type { DispatchStore, OwedOrder } from '../db/stores/dispatch-store.ts'
import { hasSecret, type OrderSecrets } from './order-secrets.ts'

/** Jobs claimed in one statement. */
const CLAIM_LIMIT = 256
/** In one message: few enough orders to share an end, and few enough bytes for NATS' limit of 1 MiB. */
const MESSAGE_ORDERS = 64
const MESSAGE_BYTES = 512 * 1024
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
  readonly secrets: OrderSecrets
  readonly logger: Logger
}): Dispatch {
  const { store, nats, secrets, logger } = deps
  let claiming: Promise<void> | undefined
  let again = false

  function send(orders: readonly OwedOrder[]): void {
    const sealed = orders.filter(({ spec }) => hasSecret(spec))
    const plain = sealed.length === 0 ? orders : orders.filter(({ spec }) => !hasSecret(spec))
    for (const [host, together] of Map.groupBy(plain, (order) => order.host)) {
      for (const group of inMessages(together.map(toWorkOrder))) sendTogether(host, group)
    }
    if (sealed.length > 0) void sendSealed(sealed)
  }

  /** One after the other, each in a message of its own. Never throws: what Postgres could not tell now the sweep asks again. */
  async function sendSealed(orders: readonly OwedOrder[]): Promise<void> {
    for (const order of orders) {
      const { jobId, host, attempt } = order
      try {
        const secret = await secrets.seal(order)
        sendTogether(host, [{ ...toWorkOrder(order), ...(secret === undefined ? {} : { secret }) }])
      } catch (error) {
        const detail = error instanceof FleetError ? error.detail : undefined
        logger.warn({ event: 'job.unsealed', jobId, host, attempt, error: String(error), detail })
        if (isForGood(error)) await giveUp(order)
      }
    }
  }

  async function giveUp({ jobId, host, attempt, spec }: OwedOrder): Promise<void> {
    const what = 'pointId' in spec ? 'the secret of its target' : 'the CHAP secrets of its exports'
    const message = `${what} could not be opened, or not be sealed for the host '${host}'`
    try {
      await secrets.onUnsealable({ jobId, attempt }, { code: 'refused', message })
    } catch (error) {
      logger.warn({ event: 'job.unsealed', jobId, host, attempt, error: String(error) })
    }
  }

  /** Never throws: what could not be sent the sweep sends again. */
  function sendTogether(host: string, orders: readonly WorkOrder[]): void {
    const message: WorkMessage = { v: WIRE_VERSION, orders: [...orders] }
    const header = headers()
    header.set('Nats-Msg-Id', workMessageId(host, orders))
    try {
      nats.publish(subjects.work(host), JSON.stringify(message), { headers: header })
    } catch (error) {
      logger.warn({ event: 'job.unsent', host, orders: orders.length, error: String(error) })
      return
    }
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

function isForGood(error: unknown): boolean {
  return error instanceof FleetError && ['not_found', 'refused', 'internal'].includes(error.code)
}

function toWorkOrder({ jobId, attempt, spec, notAfterMs }: OwedOrder): WorkOrder {
  return { jobId, attempt, spec, notAfter: notAfterMs }
}

/** Orders in their sequence, cut into groups that fit a message. */
function inMessages(orders: readonly WorkOrder[]): readonly (readonly WorkOrder[])[] {
  const groups: WorkOrder[][] = []
  let bytes = 0
  for (const order of orders) {
    const size = Buffer.byteLength(JSON.stringify(order))
    const group = groups.at(-1)
    if (group === undefined || group.length === MESSAGE_ORDERS || bytes + size > MESSAGE_BYTES) {
      groups.push([order])
      bytes = size
    } else {
      group.push(order)
      bytes += size
    }
  }
  return groups
}
