import type { JobEvent, JobReport, Progress } from '../../shared/job-event.ts'

/** At most ten progress events a second a job. */
const PROGRESS_EVERY_MS = 100
/** A running job says something this often, so that slow differs from gone. */
const HEARTBEAT_MS = 5_000
/** A start waits this long for its end: most jobs are over sooner, and one message then tells both. */
const START_DELAY_MS = 20

/** Tells about one run of one job. Events are numbered here; the end is the caller's to send, because it must be stored. */
export interface Reporter {
  start(): void
  progress(progress: Progress): void
  /** The job needs its source dataset no longer. Told at once, and again now and then: a report may be lost. */
  release(): void
  /** @returns what is left to tell, the end last; nothing is told after it. */
  end(event: EndingEvent): JobReport
  /** Further reports carry this attempt. */
  adopt(attempt: number): void
  close(): void
}

type Unnumbered<Event> = Event extends unknown ? Omit<Event, 'seq' | 'at'> : never
export type EndingEvent = Unnumbered<Extract<JobEvent, { type: 'succeed' | 'fail' | 'stop' }>>

export function createReporter(options: {
  readonly jobId: string
  readonly attempt: number
  readonly delivery: number
  readonly publish: (report: JobReport) => void
}): Reporter {
  const { jobId, delivery, publish } = options
  let attempt = options.attempt
  let seq = 0
  let pending: JobEvent[] = []
  let latest: Progress | undefined
  let timer: NodeJS.Timeout | undefined
  let heartbeat: NodeJS.Timeout | undefined
  let toldAtMs = 0
  let ended = false
  let releaseToldAtMs: number | undefined

  function number(event: Unnumbered<JobEvent>): JobEvent {
    seq += 1
    return { ...event, seq, at: Date.now() }
  }

  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    if (latest) pending.push(number({ type: 'progress', progress: latest }))
    latest = undefined
    repeatRelease()
    if (pending.length === 0) return
    publish({ jobId, attempt, delivery, events: pending })
    pending = []
    toldAtMs = Date.now()
  }

  function repeatRelease(): void {
    if (releaseToldAtMs === undefined || Date.now() - releaseToldAtMs < HEARTBEAT_MS) return
    pending.push(number({ type: 'release' }))
    releaseToldAtMs = Date.now()
  }

  function beat(last: Progress): void {
    clearTimeout(heartbeat)
    heartbeat = setTimeout(() => progress(last), HEARTBEAT_MS)
  }

  function progress(now: Progress): void {
    if (ended) return
    latest = now
    beat(now)
    timer ??= setTimeout(flush, Math.max(0, toldAtMs + PROGRESS_EVERY_MS - Date.now()))
  }

  return {
    start() {
      pending.push(number({ type: 'start' }))
      timer ??= setTimeout(flush, START_DELAY_MS)
      beat({ phase: 'start' })
    },

    progress,

    release() {
      if (ended || releaseToldAtMs !== undefined) return
      pending.push(number({ type: 'release' }))
      releaseToldAtMs = Date.now()
      // Whoever waits for the dataset waits for this.
      clearTimeout(timer)
      flush()
    },

    end(event) {
      ended = true
      clearTimeout(timer)
      clearTimeout(heartbeat)
      // Progress that the end overtakes tells nobody anything any more.
      return { jobId, attempt, delivery, events: [...pending, number(event)] }
    },

    adopt(next) {
      attempt = next
    },

    close() {
      ended = true
      clearTimeout(timer)
      clearTimeout(heartbeat)
    },
  }
}
