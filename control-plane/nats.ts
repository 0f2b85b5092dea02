import { jetstreamManager } from '@nats-io/jetstream'
import { type Authenticator, connect, type NatsConnection, nanos, nkeyAuthenticator } from 'nats'
import { type NatsTls, natsOptions, readSeed } from '../shared/wire/nats-credentials.ts'
import {
  DUPLICATE_WINDOW_MS,
  EVENT_ACK_WAIT_MS,
  EVENT_STREAM,
  INGEST_CONSUMER,
  WORK_ACK_WAIT_MS,
  WORK_STREAM,
  workConsumer,
} from '../shared/wire/streams.ts'
import { subjects } from '../shared/wire/subjects.ts'

/** Events not yet folded, over all replicas; beyond it JetStream holds the rest back. */
const MAX_UNACKED_EVENTS = 5_000
/** Beside the orders it works on, an agent must get those that wait for a slot and later attempts of what it has. */
const SPARE_MESSAGES = 1_000
/** What an unread work queue or event log may take on NATS' disk. */
const STREAM_MAX_BYTES = 1024 ** 3

/** With the user of `authenticator`, else the nkey in a file, else what the URL carries. */
export async function connectNats(options: {
  readonly url: string
  readonly tls?: NatsTls | undefined
  readonly authenticator?: Authenticator | undefined
  readonly seedFile?: string | undefined
}): Promise<NatsConnection> {
  const { authenticator = options.seedFile && nkeyAuthenticator(readSeed(options.seedFile)) } = options
  return connect({
    ...natsOptions(options),
    ...(authenticator ? { authenticator } : {}),
    name: 'holdfast-control-plane',
  })
}

/** Resolves when the client gave up because it was turned away twice in a row; by our own closing it never does. */
export async function closedByServer(nats: NatsConnection): Promise<Error> {
  const reason = await nats.closed()
  if (reason instanceof Error) return new Error(`NATS turns us away: ${reason.message}`, { cause: reason })
  return new Promise(() => undefined)
}

/** Makes the streams and the ingest consumer, or finds them; also after NATS lost its disk. */
export async function ensureStreams(nats: NatsConnection): Promise<void> {
  const manager = await jetstreamManager(nats)
  const common = { max_bytes: STREAM_MAX_BYTES, duplicate_window: nanos(DUPLICATE_WINDOW_MS) }
  await manager.streams.add({ name: WORK_STREAM, subjects: [subjects.allWork], retention: 'workqueue', ...common })
  await manager.streams.add({ name: EVENT_STREAM, subjects: [subjects.allEvents], retention: 'workqueue', ...common })
  await manager.consumers.add(EVENT_STREAM, {
    durable_name: INGEST_CONSUMER,
    ack_policy: 'explicit',
    ack_wait: nanos(EVENT_ACK_WAIT_MS),
    max_ack_pending: MAX_UNACKED_EVENTS,
  })
}

/** Drops the orders that no agent has taken yet. */
export async function purgeOrders(nats: NatsConnection): Promise<void> {
  await (await jetstreamManager(nats)).streams.purge(WORK_STREAM)
}

/** The durable consumer of one host; the agent itself bounds how many orders it works on at once. */
export async function ensureWorkConsumer(nats: NatsConnection, host: string, slots: number): Promise<void> {
  const manager = await jetstreamManager(nats)
  await manager.consumers.add(WORK_STREAM, {
    durable_name: workConsumer(host),
    filter_subject: subjects.work(host),
    ack_policy: 'explicit',
    ack_wait: nanos(WORK_ACK_WAIT_MS),
    max_ack_pending: slots + SPARE_MESSAGES,
  })
}
