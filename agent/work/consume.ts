import { type JsMsg, jetstream } from '@nats-io/jetstream'
import type { NatsConnection } from 'nats'
import type { Logger } from '../../shared/logger.ts'
import { keepPulling } from '../../shared/wire/keep-pulling.ts'
import { WORK_EXTEND_EVERY_MS, WORK_STREAM, workConsumer } from '../../shared/wire/streams.ts'
import { readOrders } from './read-orders.ts'
import type { Runner } from './runner.ts'

const REDELIVER_AFTER_MS = 1_000

export interface Consumption {
  stop(): Promise<void>
}

/**
 * Takes orders from this host's durable consumer. While one is worked on its acknowledgement is put off again and again, so
 * NATS delivers it anew only when this process is gone. `welcome` makes sure that the consumer exists; it is asked again
 * whenever the connection or the consumer was lost.
 */
export function startConsuming(deps: {
  readonly nats: NatsConnection
  readonly host: string
  readonly slots: number
  readonly runner: Runner
  readonly welcome: (signal: AbortSignal) => Promise<void>
  readonly logger: Logger
}): Consumption {
  const { nats, host, slots, runner, logger } = deps
  let isStopping = false

  function take(message: JsMsg): void {
    const { orders, unknown, error: unreadable } = readOrders(message.string())
    if (unreadable !== undefined) {
      const jobs = unknown.map(({ jobId }) => jobId)
      logger.error({ event: 'work.unreadable', subject: message.subject, jobs, error: unreadable.slice(0, 500) })
    }
    if (orders.length + unknown.length === 0) {
      message.term()
      return
    }
    const extending = setInterval(() => message.working(), WORK_EXTEND_EVERY_MS)
    Promise.all([...orders.map((order) => runner.take(order)), ...unknown.map((order) => runner.decline(order))])
      .then(() => message.ack())
      .catch((error: unknown) => {
        if (isStopping) return
        logger.error({ event: 'work.broken', jobs: orders.map((order) => order.jobId), error: String(error) })
        message.nak(REDELIVER_AFTER_MS)
      })
      .finally(() => clearInterval(extending))
  }

  const pulling = keepPulling({
    connection: nats,
    onLost: (error) => logger.warn({ event: 'work.consumer_lost', error: String(error) }),
    async open(signal) {
      await deps.welcome(signal)
      const consumer = await jetstream(nats).consumers.get(WORK_STREAM, workConsumer(host))
      return consumer.consume({ max_messages: slots, callback: take })
    },
  })

  return {
    async stop() {
      isStopping = true
      await pulling.stop()
    },
  }
}
