import { jetstream } from '@nats-io/jetstream'
import { connect } from 'nats'
import { z } from 'zod'
import type { JobEvent } from '../../shared/job-event.ts'
import type { DatasetMade } from '../../shared/job-spec.ts'
import { inboxPrefix } from '../../shared/wire/agent-permissions.ts'
import {
  BEAT_INTERVAL_MS,
  type Beat,
  type Hello,
  type ReportMessage,
  WIRE_VERSION,
  WorkMessage,
} from '../../shared/wire/messages.ts'
import { WORK_STREAM, workConsumer } from '../../shared/wire/streams.ts'
import { subjects } from '../../shared/wire/subjects.ts'
import { endWithParent, readOptions, tellParent } from './options.ts'

/** An agent that does no work, keeps no journal, and reports success of every order at once, start and end in one message. */
const { natsUrl, host } = readOptions(z.object({ natsUrl: z.string(), host: z.string() }))

const SLOTS = 256
const HELLO_TIMEOUT_MS = 5_000
const MADE: DatasetMade = { rootInode: 256, mountpoint: '/nowhere', atomic: true, cow: true }

endWithParent()
const nats = await connect({ servers: natsUrl, inboxPrefix: inboxPrefix(host) })
const js = jetstream(nats)
const pool = {
  name: `${host}-pool`,
  driver: 'sim' as const,
  capabilities: { cow: true, atomic: true, enforcesReadonly: true },
  sizeBytes: 2 ** 40,
  freeBytes: 2 ** 39,
}
const hello: Hello = {
  v: WIRE_VERSION,
  hash: host,
  inventory: { version: '0', slots: SLOTS, pools: [pool], restorePaths: [], sourcePaths: [], backupRoot: null },
}
const beat: Beat = { v: WIRE_VERSION, hash: host, free: [pool.freeBytes], running: 0 }

nats.subscribe(subjects.hostReads(host), { callback: (_, message) => void message.respond(JSON.stringify(hello)) })
await nats.request(subjects.hello(host), JSON.stringify(hello), { timeout: HELLO_TIMEOUT_MS })
nats.publish(subjects.beat(host), JSON.stringify(beat))
setInterval(() => nats.publish(subjects.beat(host), JSON.stringify(beat)), BEAT_INTERVAL_MS)

const consumer = await js.consumers.get(WORK_STREAM, workConsumer(host))
await consumer.consume({
  max_messages: SLOTS,
  callback(message) {
    const { orders } = WorkMessage.parse(message.json())
    const at = Date.now()
    const events: JobEvent[] = [
      { type: 'start', seq: 1, at },
      { type: 'succeed', seq: 2, at, result: MADE, phases: [] },
    ]
    const reports = orders.map(({ jobId, attempt }) => ({ jobId, attempt, delivery: 1, events }))
    const report: ReportMessage = { v: WIRE_VERSION, reports }
    nats.publish(subjects.event(host), JSON.stringify(report))
    message.ack()
  },
})
tellParent('ready')
