import { setTimeout as delay } from 'node:timers/promises'
import { type ConsumerMessages, type JsMsg, jetstream } from '@nats-io/jetstream'
import type { NatsConnection } from 'nats'
import type { Logger } from '../../shared/logger.ts'
import { WorkMessage, type WorkOrder } from '../../shared/wire/messages.ts'
import { WORK_EXTEND_EVERY_MS, WORK_STREAM, workConsumer } from '../../shared/wire/streams.ts'
import type { Runner } from './runner.ts'

const REDELIVER_AFTER_MS = 1_000
const RETRY_MS = 500

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
  const stopping = new AbortController()
  let messages: ConsumerMessages | undefined

  function take(message: JsMsg): void {
    const orders = parse(message, logger)
    if (orders === undefined) {
      message.term()
      return
    }
    const extending = setInterval(() => message.working(), WORK_EXTEND_EVERY_MS)
    Promise.all(orders.map((order) => runner.take(order)))
      .then(() => message.ack())
      .catch((error: unknown) => {
        if (stopping.signal.aborted) return
        logger.error({ event: 'work.broken', jobs: orders.map((order) => order.jobId), error: String(error) })
        message.nak(REDELIVER_AFTER_MS)
      })
      .finally(() => clearInterval(extending))
  }

  async function consumeUntilLost(): Promise<void> {
    await deps.welcome(stopping.signal)
    const consumer = await jetstream(nats).consumers.get(WORK_STREAM, workConsumer(host))
    messages = await consumer.consume({ max_messages: slots, callback: take })
    for await (const status of messages.status()) {
      if (LOST.has(status.type)) break
    }
    messages.stop()
  }

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await consumeUntilLost()
      } catch (error) {
        if (stopping.signal.aborted) return
        logger.warn({ event: 'work.consumer_lost', error: String(error) })
        await delay(RETRY_MS)
      }
    }
  }

  /** The server may have come back without its streams, and then nothing else would tell. */
  async function watchConnection(): Promise<void> {
    for await (const status of nats.status()) {
      if (status.type === 'reconnect') messages?.stop()
    }
  }

  const looping = loop()
  void watchConnection()

  return {
    async stop() {
      stopping.abort()
      messages?.stop()
      await looping
    },
  }
}

const LOST = new Set(['consumer_not_found', 'consumer_deleted', 'stream_not_found', 'no_responders'])

function parse(message: JsMsg, logger: Logger): readonly WorkOrder[] | undefined {
  const parsed = WorkMessage.safeParse(message.json())
  if (parsed.success) return parsed.data.orders
  logger.error({ event: 'work.unreadable', subject: message.subject })
  return undefined
}
