import { setTimeout as delay } from 'node:timers/promises'
import type { JetStreamClient } from '@nats-io/jetstream'
import type { NatsConnection } from 'nats'
import { createBatcher } from '../../shared/batcher.ts'
import type { JobReport } from '../../shared/job-event.ts'
import type { Logger } from '../../shared/logger.ts'
import { type ReportMessage, reportMessageId, WIRE_VERSION } from '../../shared/wire/messages.ts'
import { subjects } from '../../shared/wire/subjects.ts'
import { bounded } from './failure.ts'

const STORE_RETRY_MS = 500
/** Reports in one message, as long as they are small; NATS takes 1 MiB. */
const MESSAGE_REPORTS = 16
const MESSAGE_BYTES = 700_000
const MAX_WAITING = 100_000
const GATHER_MS = 1

/** How reports leave this host. What is to be stored while a message is under way goes with the next one. */
export interface Outbox {
  /** Sends without waiting: what is lost so is said again or does not matter. */
  tell(report: JobReport): void
  /** Sends, and resolves when JetStream has stored it; tries until it has, or the agent stops. */
  store(report: JobReport): Promise<void>
}

export function createOutbox(deps: {
  readonly nats: NatsConnection
  readonly jetstream: JetStreamClient
  readonly host: string
  readonly signal: AbortSignal
  readonly logger: Logger
}): Outbox {
  const { nats, jetstream, host, signal, logger } = deps
  const encode = (reports: readonly JobReport[]) =>
    JSON.stringify({ v: WIRE_VERSION, reports: [...reports] } satisfies ReportMessage)

  function tell(report: JobReport): void {
    try {
      nats.publish(subjects.event(host), encode([sendable(report)]))
    } catch (error) {
      logger.warn({ event: 'report.untold', jobId: report.jobId, error: String(error) })
    }
  }

  const store = createBatcher<JobReport, { readonly stored: true }>({
    maxItems: MESSAGE_REPORTS,
    maxWaiting: MAX_WAITING,
    // Told twice is told once: reports are numbered.
    mayRetry: () => true,
    gatherMs: GATHER_MS,
    async work(reports) {
      for (const some of fitting(reports)) await publish(some)
      return reports.map(() => ({ stored: true }))
    },
  })

  async function publish(reports: readonly JobReport[]): Promise<void> {
    const text = encode(reports)
    const msgID = reportMessageId(host, reports)
    for (;;) {
      try {
        await jetstream.publish(subjects.event(host), text, { msgID })
        return
      } catch (error) {
        logger.warn({ event: 'report.unstored', reports: reports.length, error: String(error) })
        await delay(STORE_RETRY_MS, undefined, { signal })
      }
    }
  }

  return {
    tell,
    async store(report) {
      await store(sendable(report))
    },
  }
}

/** What NATS would not take is never stored, and all that waits behind it neither: an older agent may have journaled such an end. */
function sendable(report: JobReport): JobReport {
  const events = report.events.map((event) =>
    event.type === 'fail' ? { ...event, error: bounded(event.error) } : event,
  )
  return { ...report, events }
}

/** In their order; one that is large goes alone. */
export function fitting(reports: readonly JobReport[]): readonly (readonly JobReport[])[] {
  const messages: JobReport[][] = []
  let bytes = Number.POSITIVE_INFINITY
  for (const report of reports) {
    const size = Buffer.byteLength(JSON.stringify(report))
    if (bytes + size > MESSAGE_BYTES) {
      messages.push([])
      bytes = 0
    }
    messages.at(-1)?.push(report)
    bytes += size
  }
  return messages
}
