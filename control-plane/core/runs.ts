/**
 * - `ran`     fired in time and ended well
 * - `late`    the same, but fired later than its grace
 * - `missed`  nothing was fired: nobody was there at that instant, or its host stayed away
 * - `skipped` nothing was fired: the run before was still under way
 * - `failed`  fired, and ended badly
 * - `stopped` fired or waiting, and somebody stopped it
 */
export const RUN_OUTCOMES = ['ran', 'late', 'missed', 'skipped', 'failed', 'stopped'] as const
export type RunOutcome = (typeof RUN_OUTCOMES)[number]

/** One row of the ledger: one for each due instant of a schedule, and one for each run that somebody asked for. */
export interface ScheduleRun {
  readonly id: string
  readonly scheduleId: string
  readonly trigger: 'due' | 'manual' | 'early'
  /** The calendar's instant; of a manual run when it was asked for. `early`: it was fired by a clock that ran ahead; its instant is still to come. */
  readonly dueAt: Date
  readonly state: 'waiting' | 'running' | 'ended'
  /** Null until it has ended. */
  readonly outcome: RunOutcome | null
  /** For people: why it was missed, skipped, failed or is waiting; null where there is nothing to tell. */
  readonly reason: string | null
  readonly host: string | null
  readonly jobId: string | null
  readonly pointId: string | null
  /** Of the verification that followed a good run. */
  readonly verifyJobId: string | null
  /** When its order was placed, and when it had ended. */
  readonly firedAt: Date | null
  readonly endedAt: Date | null
}

export interface ScheduleRunFilter {
  readonly outcome?: RunOutcome | undefined
  readonly since?: Date | undefined
  readonly until?: Date | undefined
}
