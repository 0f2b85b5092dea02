import { FleetError, toFleetError } from '../../shared/errors.ts'
import type { JobEvent, JobFailure, JobReport, Phase, Progress } from '../../shared/job-event.ts'
import type { Logger } from '../../shared/logger.ts'
import type { WorkOrder } from '../../shared/wire/messages.ts'
import { releaseFreed } from '../native/release.ts'
import type { PipelineTools } from '../pipelines/pipeline.ts'
import { openWork } from '../pipelines/pipelines.ts'
import { PipelineFailure, runPipeline } from '../pipelines/run-pipeline.ts'
import { failureOf } from './failure.ts'
import type { Journal, JournalEntry } from './journal.ts'
import { type Lanes, laneOf } from './lanes.ts'
import type { LeftWork } from './left-work.ts'
import { createReporter, type EndingEvent, type Reporter } from './report.ts'
import type { Slots } from './slots.ts'

/** An order that was begun this often and never ended takes the agent down with it: it fails instead. */
const MAX_BEGINS = 5

const GIVEN_UP: EndingEvent = {
  type: 'fail',
  error: { code: 'internal', message: `the agent ended ${MAX_BEGINS} times while it worked on this` },
  phases: [],
}

const UNKNOWN: JobFailure = {
  code: 'refused',
  message: 'the agent of this host does not know what it was asked to do: it is older than the control plane',
}

/** Why a run is aborted: `cancel` undoes and reports, `shutdown` undoes and is resumed at the next start. */
const CANCEL = new FleetError('cancelled', 'the job was cancelled')
const SHUTDOWN = new FleetError('unavailable', 'the agent is stopping')

interface Run {
  readonly controller: AbortController
  readonly reporter: Reporter
  attempt: number
  readonly done: Promise<void>
}

/** Runs orders: each at most once at a time, each to one end, whatever is delivered twice or late. */
export interface Runner {
  /**
   * Resolves when the order needs its message no longer: its end is stored, by this run or an earlier one.
   * @throws SHUTDOWN while the agent stops; the message then stays unacknowledged.
   */
  take(order: WorkOrder): Promise<void>
  /** One that this agent cannot read has failed, as far as this attempt goes. Resolves when that is stored. */
  decline(order: Pick<WorkOrder, 'jobId' | 'attempt'>): Promise<void>
  cancel(jobId: string, attempt: number): void
  /** Takes up what a crash interrupted. */
  resume(): void
  /** Reports again what Postgres has not confirmed. */
  remind(): void
  running(): number
  /** Aborts what runs, undone and unreported, and waits for it. */
  stop(): Promise<void>
}

export function createRunner(deps: {
  readonly journal: Journal
  readonly lanes: Lanes
  readonly slots: Slots
  /** For whole archives, which wait for their turns and for targets. */
  readonly archiveSlots: Slots
  readonly tools: PipelineTools
  /** Told of orders that could not be taken back, before their ends are. */
  readonly left?: Pick<LeftWork, 'keep'>
  /** Sends without waiting. */
  readonly tell: (report: JobReport) => void
  /** Sends and resolves when NATS has stored it; tries until it has, or the agent stops. */
  readonly store: (report: JobReport) => Promise<void>
  /** Whether an order that comes after its time is still wanted. */
  readonly stillWanted: (order: WorkOrder) => Promise<boolean>
  /** Milliseconds since the epoch by the control plane's clock. */
  readonly clock: () => number
  readonly logger: Logger
}): Runner {
  const { journal, logger } = deps
  const runs = new Map<string, Run>()
  let stopping = false

  /** An order that ended before is answered from the journal, under the attempt that asks. */
  async function answer(entry: JournalEntry, event: JobEvent, attempt: number): Promise<void> {
    await deps.store({ jobId: entry.jobId, attempt, delivery: entry.delivery, events: [event] })
  }

  async function take(order: WorkOrder): Promise<void> {
    const running = runs.get(order.jobId)
    if (running) {
      adopt(running, order)
      return finished(running)
    }
    const known = journal.get(order.jobId)
    if (known?.end) return answer(known, known.end, order.attempt)
    if (known?.order === undefined && isLate(order)) {
      const isWanted = await deps.stillWanted(order)
      // It may have been cancelled, or have run, while that was asked.
      const since = journal.get(order.jobId)
      if (since?.end) return answer(since, since.end, order.attempt)
      if (!isWanted) return refuse(order)
    }
    // Another delivery of the same order may have begun while that was asked.
    return finished(runs.get(order.jobId) ?? begin(order))
  }

  async function finished(run: Run): Promise<void> {
    await run.done
    if (stopping) throw SHUTDOWN
  }

  function isLate(order: WorkOrder): boolean {
    return order.notAfter !== null && deps.clock() > order.notAfter
  }

  /** Not journaled: it holds for this attempt alone, and a repeat is refused again. */
  async function refuse({ jobId, attempt }: WorkOrder): Promise<void> {
    const event: JobEvent = { type: 'stop', seq: 1, at: Date.now(), phases: [] }
    await deps.store({ jobId, attempt, delivery: 1, events: [event] })
  }

  function adopt(run: Run, order: WorkOrder): void {
    if (order.attempt <= run.attempt) return
    run.attempt = order.attempt
    run.reporter.adopt(order.attempt)
    journal.adopt(order)
    logger.info({ event: 'job.adopted', jobId: order.jobId, attempt: order.attempt })
  }

  function begin(order: WorkOrder): Run {
    if (stopping) throw SHUTDOWN
    const { delivery } = journal.begin(order)
    const reporter = createReporter({ jobId: order.jobId, attempt: order.attempt, delivery, publish: deps.tell })
    const controller = new AbortController()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const run: Run = { controller, reporter, attempt: order.attempt, done: promise }
    runs.set(order.jobId, run)
    execute(order, run, delivery)
      .finally(() => {
        reporter.close()
        runs.delete(order.jobId)
        releaseFreed()
      })
      .then(resolve, reject)
    return run
  }

  async function execute(order: WorkOrder, run: Run, delivery: number): Promise<void> {
    let isAtWork = false
    const isResumed = mayHaveLeft(order.jobId)
    // Restores of volumes read points as well.
    const slots = 'pointId' in order.spec ? deps.archiveSlots : deps.slots
    const turn = deps.lanes.run(laneOf(order.spec), () =>
      slots.run(() => {
        isAtWork = true
        return work(order, run, isResumed)
      }),
    )
    // Who is stopped while it waits for its turn need not wait for it; when that comes, the signal ends it at once. What an agent that
    // died may have left is undone in its turn.
    const stopped = stoppedBefore((reason) => isAtWork || (isResumed && reason === CANCEL), run.controller.signal)
    const ending = await Promise.race([turn, stopped])
    if (ending === undefined) {
      journal.pause(order.jobId)
      return
    }
    const report = run.reporter.end(ending)
    const event = report.events.at(-1)
    if (event) journal.end(order.jobId, { attempt: report.attempt, delivery, event })
    await deps.store(report)
    // A later attempt may have asked while that was under way, and waits for this very end.
    if (run.attempt > report.attempt) await deps.store({ ...report, attempt: run.attempt })
  }

  /** Whether an earlier beginning, which no orderly stop ended, got anywhere. */
  function mayHaveLeft(jobId: string): boolean {
    const { begins = 0, staged = '' } = journal.get(jobId) ?? {}
    return begins > 1 || staged !== ''
  }

  /** The pipeline from its first step to its end; undefined when the agent stops and will resume. */
  async function work(order: WorkOrder, run: Run, isResumed: boolean): Promise<EndingEvent | undefined> {
    const { jobId } = order
    const { begins = 0 } = journal.get(jobId) ?? {}
    // Once, what they left is taken back; if that is what takes the agent down, it stays.
    if (begins > MAX_BEGINS + 1) return GIVEN_UP
    const isGivenUp = begins > MAX_BEGINS
    const signal = isGivenUp && run.controller.signal.reason !== SHUTDOWN ? AbortSignal.abort() : run.controller.signal
    const startedMs = performance.now()
    try {
      if (!isResumed || signal.reason === SHUTDOWN) signal.throwIfAborted()
      run.reporter.start()
      const pipeline = await openWork(order.spec, jobId, deps.tools)
      const context = {
        jobId,
        signal,
        secret: order.secret,
        progress: (progress: Progress) => run.reporter.progress(progress),
        release: () => run.reporter.release(),
        memory: {
          staged: () => journal.get(jobId)?.staged,
          stage: (identity: string) => journal.stage(jobId, identity),
        },
      }
      const { result, phases } = await runPipeline(pipeline, context, isResumed)
      logger.info({ event: 'job.done', jobId, kind: order.spec.kind, ms: Math.round(performance.now() - startedMs) })
      return { type: 'succeed', result, phases: [...phases] }
    } catch (thrown) {
      if (signal.reason === SHUTDOWN) return undefined
      if (isGivenUp) return GIVEN_UP
      return failed(order, thrown)
    }
  }

  function failed(order: WorkOrder, thrown: unknown): EndingEvent {
    const phases: readonly Phase[] = thrown instanceof PipelineFailure ? thrown.phases : []
    const cause = thrown instanceof PipelineFailure ? thrown.cause : thrown
    const error = toFleetError(cause)
    const facts = {
      jobId: order.jobId,
      kind: order.spec.kind,
      code: error.code,
      message: error.message,
      detail: error.detail,
    }
    logger.warn({ event: 'job.failed', ...facts, ...(error.code === 'internal' ? { err: error.cause ?? error } : {}) })
    if (error.left) deps.left?.keep(order.jobId, { spec: order.spec, staged: journal.get(order.jobId)?.staged })
    if (error.code === 'cancelled') return { type: 'stop', phases: [...phases] }
    return { type: 'fail', error: failureOf(error), phases: [...phases] }
  }

  return {
    take,

    /** Not journaled: an agent that can read it may be given it again. */
    async decline({ jobId, attempt }) {
      const event: JobEvent = { type: 'fail', seq: 1, at: Date.now(), error: UNKNOWN, phases: [] }
      await deps.store({ jobId, attempt, delivery: 1, events: [event] })
    },

    cancel(jobId, attempt) {
      const run = runs.get(jobId)
      if (run) return run.controller.abort(CANCEL)
      const known = journal.get(jobId)
      if (known?.end) {
        void answer(known, known.end, attempt)
        return
      }
      // Never seen: whatever still arrives of it must find that it has ended.
      const event: JobEvent = { type: 'stop', seq: 1, at: Date.now(), phases: [] }
      journal.end(jobId, { attempt, delivery: 1, event })
      void deps.store({ jobId, attempt, delivery: 1, events: [event] })
    },

    resume() {
      for (const { order } of journal.unfinished()) {
        if (order === undefined || runs.has(order.jobId)) continue
        logger.info({ event: 'job.resumed', jobId: order.jobId, attempt: order.attempt })
        begin(order).done.catch((error: unknown) =>
          logger.error({ event: 'job.broken', jobId: order.jobId, error: String(error) }),
        )
      }
    },

    remind() {
      for (const entry of journal.unconfirmed()) {
        if (entry.end)
          deps.tell({ jobId: entry.jobId, attempt: entry.attempt, delivery: entry.delivery, events: [entry.end] })
      }
    },

    running: () => runs.size,

    async stop() {
      stopping = true
      for (const run of runs.values()) run.controller.abort(SHUTDOWN)
      await Promise.allSettled([...runs.values()].map((run) => run.done))
    },
  }
}

/** Resolves when the signal aborts while the work is not to end by itself: with the end to report, or undefined at a shutdown. */
function stoppedBefore(isWork: (reason: unknown) => boolean, signal: AbortSignal): Promise<EndingEvent | undefined> {
  return new Promise((resolve) => {
    const onAbort = () => {
      if (!isWork(signal.reason)) resolve(signal.reason === SHUTDOWN ? undefined : { type: 'stop', phases: [] })
    }
    signal.addEventListener('abort', onAbort, { once: true })
  })
}
