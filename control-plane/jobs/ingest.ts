import { setTimeout as pause } from 'node:timers/promises'
import { type JsMsg, jetstream } from '@nats-io/jetstream'
import type { NatsConnection } from 'nats'
import { FleetError } from '../../shared/errors.ts'
import { isTerminalEvent, type JobReport } from '../../shared/job-event.ts'
import { isTerminal } from '../../shared/job-machine.ts'
import type { Logger } from '../../shared/logger.ts'
import { keepPulling } from '../../shared/wire/keep-pulling.ts'
import { type Confirmation, ReportMessage, WIRE_VERSION } from '../../shared/wire/messages.ts'
import { EVENT_STREAM, INGEST_CONSUMER } from '../../shared/wire/streams.ts'
import { hostOfSubject, subjects } from '../../shared/wire/subjects.ts'
import { applyReports, type LockedJob } from '../core/job-change.ts'
import { sqlState } from '../db/sql.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { Committed } from '../db/stores/change-write.ts'

/** Messages folded in one transaction. */
const FOLD_LIMIT = 500
/** While reports come several at a time, the next group gathers for so long: large groups cost less than many small ones. */
const GATHER_MS = 2
/** Messages asked for ahead of the fold. */
const PREFETCH = 2_000
/** Progress alone may wait this long for company. */
const PROGRESS_DELAY_MS = 250
const RETRY_AFTER_MS = 500
/** What Postgres refuses by itself comes again this late: it may be a bug of ours, and its host repeats it anyway. */
const REFUSED_AFTER_MS = 10_000
const MAX_WAITING = 10_000

interface Heard {
  readonly message: JsMsg
  readonly host: string
  readonly reports: readonly JobReport[]
}

interface Told {
  readonly host: string
  readonly report: JobReport
}

export interface Forged {
  readonly host: string
  readonly job: LockedJob
}

export interface Ingest {
  /** Whether the consumer answers; part of readiness. */
  running(): boolean
  /** For how long every report has reached us: silence before that was ours. */
  heardForMs(): number
  stop(): Promise<void>
}

/**
 * Folds agents' reports into Postgres: what has arrived while one group is folded forms the next. A message is acknowledged
 * only after its group committed, and ends of jobs are then confirmed to their agents.
 */
export function startIngest(deps: {
  readonly nats: NatsConnection
  /** Makes sure that the stream and its consumer are there. */
  readonly prepare: () => Promise<void>
  readonly store: ChangeStore
  readonly onHeard: (host: string) => void
  /** Whether a host's word counts: one that has no credentials any more may have left some in JetStream. */
  readonly admits: (host: string) => boolean
  /** A host spoke of another host's job; nothing came of it. */
  readonly onForged: (forged: Forged) => void
  /** A host works on a job that Postgres does not know, or that ended without it. */
  readonly onUnknown: (job: { readonly id: string; readonly host: string; readonly attempt: number }) => void
  readonly afterCommit: (committed: Committed) => void
  readonly logger: Logger
}): Ingest {
  const { nats, store, logger } = deps
  let waiting: Heard[] = []
  let folding: Promise<void> | undefined
  let delay: NodeJS.Timeout | undefined

  function take(message: JsMsg): void {
    const heard = parse(message, logger)
    if (heard === undefined || !deps.admits(heard.host)) {
      message.term()
      return
    }
    deps.onHeard(heard.host)
    // Not acknowledged, so it comes again: while Postgres is away JetStream keeps what we have no room for.
    if (waiting.length >= MAX_WAITING) return
    waiting.push(heard)
    const urgent = heard.reports.some((report) => report.events.some((event) => event.type !== 'progress'))
    if (urgent) void fold()
    else delay ??= setTimeout(() => void fold(), PROGRESS_DELAY_MS)
  }

  function fold(): Promise<void> {
    clearTimeout(delay)
    delay = undefined
    folding ??= foldAll().finally(() => {
      folding = undefined
    })
    return folding
  }

  async function foldAll(): Promise<void> {
    let isBusy = false
    while (waiting.length > 0) {
      if (isBusy) await pause(GATHER_MS)
      isBusy = waiting.length > 1
      const group = waiting.slice(0, FOLD_LIMIT)
      waiting = waiting.slice(FOLD_LIMIT)
      try {
        await foldGroup(group)
      } catch (error) {
        logger.warn({ event: 'ingest.fold_failed', messages: group.length, error: String(error) })
        if (isAway(error)) await putOff(group)
        else for (const heard of group) await foldAlone(heard)
      }
    }
  }

  async function putOff(group: readonly Heard[]): Promise<void> {
    for (const { message } of group) message.nak(RETRY_AFTER_MS)
    await new Promise((resolve) => setTimeout(resolve, RETRY_AFTER_MS))
  }

  /** What cannot be written keeps nobody else's word from being. */
  async function foldAlone(heard: Heard): Promise<void> {
    try {
      await foldGroup([heard])
    } catch (error) {
      if (isAway(error)) return putOff([heard])
      const jobs = heard.reports.map(({ jobId }) => jobId)
      logger.error({ event: 'ingest.report_refused', host: heard.host, jobs, error: String(error) })
      heard.message.nak(REFUSED_AFTER_MS)
    }
  }

  async function foldGroup(group: readonly Heard[]): Promise<void> {
    const told = group.flatMap(({ host, reports }) => reports.map((report) => ({ host, report })))
    const byJob = Map.groupBy(told, ({ report }) => report.jobId)
    const forged = new Map<string, Forged>()
    const wanted = new Set<string>()
    const committed = await store.change([...byJob.keys()], (job) => {
      if (!isTerminal(job.state)) wanted.add(job.id)
      else if (job.state !== 'succeeded') tellOvertaken(job, byJob.get(job.id) ?? [])
      const reports = byJob.get(job.id) ?? []
      for (const { host } of reports.filter((one) => one.host !== job.host))
        forged.set(`${host} ${job.id}`, { host, job })
      return applyReports(job, reports)
    })
    for (const word of forged.values()) deps.onForged(word)
    deps.afterCommit(committed)
    setImmediate(() => {
      // What is not acknowledged comes again, and changes nothing.
      if (nats.isClosed()) return
      for (const { message } of group) message.ack()
      confirm(told, committed)
      stopUnwanted(told.filter(({ report }) => !wanted.has(report.jobId)))
    })
  }

  /** Also confirms ends that changed nothing: the agent repeats them because a confirmation was lost. */
  function confirm(told: readonly Told[], committed: Committed): void {
    const unfinished = new Set(
      committed.changes.filter((change) => !isTerminal(change.state)).map((change) => change.job.id),
    )
    const ended = told.filter(({ report }) => report.events.some(isTerminalEvent) && !unfinished.has(report.jobId))
    for (const [host, ends] of Map.groupBy(ended, (end) => end.host)) {
      const confirmation: Confirmation = { v: WIRE_VERSION, jobs: ends.map((end) => end.report.jobId) }
      nats.publish(subjects.confirm(host), JSON.stringify(confirmation))
    }
  }

  /** It had done it before it could be told to stop: what the job has made stands on its host, and no row tells of it. */
  function tellOvertaken({ id: jobId, kind, host, state }: LockedJob, told: readonly Told[]): void {
    const isDone = told.some((one) => one.host === host && one.report.events.some(({ type }) => type === 'succeed'))
    if (isDone) logger.warn({ event: 'job.overtaken', jobId, kind, host, state })
  }

  /**
   * Work that Postgres does not know of, as it was restored from before the order, or that ended while its host was away: nobody sees it or
   * keeps others out of its way. Of a word that only comes late the agent knows the end, and says it again.
   */
  function stopUnwanted(told: readonly Told[]): void {
    for (const { host, report } of told) {
      const { jobId, attempt } = report
      if (report.events.some(isTerminalEvent)) continue
      logger.warn({ event: 'job.unknown', jobId, host, attempt })
      deps.onUnknown({ id: jobId, host, attempt })
    }
  }

  const pulling = keepPulling({
    connection: nats,
    onLost: (error) => logger.warn({ event: 'ingest.consumer_lost', error: String(error) }),
    async open() {
      await deps.prepare()
      const consumer = await jetstream(nats).consumers.get(EVENT_STREAM, INGEST_CONSUMER)
      return consumer.consume({ max_messages: PREFETCH, callback: take })
    },
  })

  return {
    running: () => pulling.healthySinceMs() !== undefined,
    heardForMs: () => Date.now() - (pulling.healthySinceMs() ?? Date.now()),
    async stop() {
      await pulling.stop()
      await folding
      clearTimeout(delay)
    },
  }
}

/** SQLSTATEs of a server that has no room, connection or memory left. */
const EXHAUSTED = /^53/

/** Whatever was in the group, and however it is written. */
function isAway(error: unknown): boolean {
  return (error instanceof FleetError && error.code === 'unavailable') || EXHAUSTED.test(sqlState(error))
}

/** Escapes of characters that Postgres takes into no text: NUL, and halves of surrogate pairs. */
const UNKEPT = /\\u(0000|[dD][89a-fA-F])/

/** Such characters, which tools may print, are replaced. */
function readable(text: string): unknown {
  if (!UNKEPT.test(text)) return JSON.parse(text)
  return JSON.parse(text, (_name, value: unknown) =>
    typeof value === 'string' ? value.replaceAll('\0', '\ufffd').toWellFormed() : value,
  )
}

function parse(message: JsMsg, logger: Logger): Heard | undefined {
  try {
    const { reports } = ReportMessage.parse(readable(message.string()))
    return { message, host: hostOfSubject(message.subject), reports }
  } catch (error) {
    logger.warn({ event: 'ingest.unreadable', subject: message.subject, error: String(error).slice(0, 500) })
    return undefined
  }
}
