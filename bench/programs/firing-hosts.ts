import { type JsMsg, jetstream } from '@nats-io/jetstream'
import { connect } from 'nats'
import { z } from 'zod'
import type { JobEvent } from '../../shared/job-event.ts'
import type { PointMade } from '../../shared/point-spec.ts'
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
import { hostOfSubject, subjects } from '../../shared/wire/subjects.ts'
import { endWithParent, readOptions, tellParent } from './options.ts'

/**
 * Many hosts in one process that make no points: each takes its orders, says at once that it has begun them, and that they are
 * done when the parent asks for that. It is to ask before their leases end. Asked how far it is, it tells when each order came, in epoch milliseconds.
 */
const { natsUrl, hosts } = readOptions(z.object({ natsUrl: z.string(), hosts: z.number().int().positive() }))
const Asked = z.enum(['count', 'arrivals', 'finish', 'forget'])

const SLOTS = 256
const WELCOME_TIMEOUT_MS = 30_000
const SIZE_BYTES = 2 ** 40
const MADE: PointMade = {
  ...{ full: true, fullReason: null, synthetic: false, members: 1, sourceBytes: 1, storedBytes: 1 },
  ...{ consistency: 'crash', encrypted: false, problemCount: 0, problems: [] },
}

endWithParent()
const nats = await connect({ servers: natsUrl })
const js = jetstream(nats)
const names = Array.from({ length: hosts }, (_, n) => `sim-${n}`)
let finished = 0
let arrivals: { readonly host: string; readonly jobId: string; readonly attempt: number; readonly atMs: number }[] = []

function hello(host: string): Hello {
  const capabilities = { cow: true, atomic: true, enforcesReadonly: true }
  const pool = {
    name: `${host}-pool`,
    driver: 'sim' as const,
    capabilities,
    sizeBytes: SIZE_BYTES,
    freeBytes: SIZE_BYTES,
  }
  const paths = { restorePaths: ['/tmp/'], sourcePaths: [], backupRoot: '/backups' }
  return { v: WIRE_VERSION, hash: host, inventory: { version: '0', slots: SLOTS, pools: [pool], ...paths } }
}

function tell(
  host: string,
  jobs: readonly { readonly jobId: string; readonly attempt: number }[],
  event: JobEvent,
): void {
  const reports = jobs.map(({ jobId, attempt }) => ({ jobId, attempt, delivery: 1, events: [event] }))
  const report: ReportMessage = { v: WIRE_VERSION, reports }
  nats.publish(subjects.event(host), JSON.stringify(report))
}

function take(message: JsMsg): void {
  const host = hostOfSubject(message.subject)
  const { orders } = WorkMessage.parse(message.json())
  const atMs = performance.timeOrigin + performance.now()
  const begun: { jobId: string; attempt: number }[] = []
  for (const { jobId, attempt, spec } of orders) {
    if (spec.kind === 'point.create') {
      arrivals.push({ host, jobId, attempt, atMs })
      begun.push({ jobId, attempt })
    } else {
      const result = { rootInode: 256, mountpoint: '/nowhere', atomic: true, cow: true }
      tell(host, [{ jobId, attempt }], { type: 'succeed', seq: 1, at: Date.now(), result, phases: [] })
    }
  }
  if (begun.length > 0) tell(host, begun, { type: 'start', seq: 1, at: Date.now() })
  message.ack()
}

nats.subscribe(subjects.hostReads('*'), {
  callback: (_, message) => void message.respond(JSON.stringify(hello(hostOfSubject(message.subject)))),
})

function beat(): void {
  for (const host of names) {
    const told: Beat = { v: WIRE_VERSION, hash: host, free: [SIZE_BYTES], running: 0 }
    nats.publish(subjects.beat(host), JSON.stringify(told))
  }
}
for (const host of names) {
  const asked = { timeout: WELCOME_TIMEOUT_MS, noMux: true, reply: `${inboxPrefix(host)}.hello` }
  await nats.request(subjects.hello(host), JSON.stringify(hello(host)), asked)
  const consumer = await js.consumers.get(WORK_STREAM, workConsumer(host))
  await consumer.consume({ max_messages: SLOTS, callback: take })
}
beat()
setInterval(beat, BEAT_INTERVAL_MS)

process.on('message', (message: unknown) => {
  const { asked } = z.object({ asked: Asked }).parse(message)
  if (asked === 'finish') {
    const event: JobEvent = { type: 'succeed', seq: 2, at: Date.now(), result: MADE, phases: [] }
    for (const [host, jobs] of Map.groupBy(arrivals.slice(finished), (one) => one.host)) tell(host, jobs, event)
    finished = arrivals.length
  }
  if (asked === 'forget') {
    arrivals = []
    finished = 0
  }
  tellParent(
    asked === 'arrivals'
      ? arrivals.map(({ jobId, atMs }) => ({ jobId, atMs }))
      : new Set(arrivals.map(({ jobId }) => jobId)).size,
  )
})
tellParent('ready')
