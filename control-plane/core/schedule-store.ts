import type { Caller } from './caller.ts'
import type { Page, PageRequest } from './page.ts'
import type { Recurrence } from './recurrence.ts'
import type { At } from './recurrence-schema.ts'
import type { RetentionPoint } from './retention.ts'
import type { ScheduleRun, ScheduleRunFilter } from './runs.ts'
import type { Feature, JobTask, Schedule, SourceType, StateCode } from './schedules.ts'

/** A schedule's row. */
export type KeptSchedule = Schedule & {
  readonly targetId: string | null
  readonly directory: string
  readonly recurrence: Recurrence
  readonly jitterMs: number
}

/** What is written of a schedule. */
export interface ScheduleValues {
  readonly name: string
  readonly type: SourceType
  readonly container: string
  readonly host: string | null
  readonly targetId: string | null
  readonly path: string
  readonly directory: string
  readonly at: At
  readonly recurrence: Recurrence
  readonly timezone: string
  readonly disabled: boolean
  readonly retention: number
  readonly features: readonly Feature[]
  /** Undefined: its ledger goes on as it was. */
  readonly ledger: LedgerStart | undefined
  readonly code: StateCode
}

/** From where on the ledger has rows. */
export interface LedgerStart {
  readonly ledgerMs: number
  readonly nextDueMs: number | null
  readonly jitterMs: number
}

/** A run that somebody asked for. */
export interface ManualRun {
  readonly atMs: number
  readonly expiresMs: number
}

/** What a prune looks at. */
export interface SeriesPoint extends RetentionPoint {
  readonly name: string
  readonly trashedAt: Date | null
  readonly purgeAt: Date | null
  /** Trashed, and wanted back. */
  readonly isReturning: boolean
}

/** What Postgres must answer for schedules. `undefined` for a change: it has another version by now. */
export interface ScheduleStore {
  find(groupId: string, id: string): Promise<KeptSchedule | undefined>
  list(groupId: string, page: PageRequest): Promise<Page<KeptSchedule>>
  /** @throws exists, conflict (the target went in that moment). */
  create(caller: Caller, values: ScheduleValues): Promise<KeptSchedule>
  /** @param fields what changes, for the audit. @throws exists, conflict. */
  change(
    caller: Caller,
    schedule: KeptSchedule,
    values: ScheduleValues,
    fields: readonly string[],
  ): Promise<KeptSchedule | undefined>
  delete(caller: Caller, schedule: KeptSchedule): Promise<true | undefined>
  /** @throws conflict: one is under way. */
  startRun(caller: Caller, schedule: KeptSchedule, run: ManualRun): Promise<true | undefined>
  /** Ends the run that waits, or marks the one that runs. @returns the job that is to be cancelled, null without one. */
  stopRun(caller: Caller, schedule: KeptSchedule, atMs: number): Promise<{ readonly jobId: string | null } | undefined>
  runs(scheduleId: string, filter: ScheduleRunFilter, page: PageRequest): Promise<Page<ScheduleRun>>
  seriesPoints(
    schedule: Pick<KeptSchedule, 'groupId' | 'targetId' | 'directory' | 'name'>,
  ): Promise<readonly SeriesPoint[]>
  /** @throws not_found, conflict. */
  undelete(caller: Caller, pointId: string, nowMs: number): Promise<void>
  tasksOf(groupId: string, jobIds: readonly string[]): Promise<readonly JobTask[]>
}

/** What retention must know of a schedule. */
export type KeptForPrune = Pick<KeptSchedule, 'retention' | 'at' | 'timezone'> & {
  readonly state: Pick<KeptSchedule['state'], 'result'>
}

/** Points that one prune deletes at most; the next goes on. */
export const PRUNE_LIMIT = 1_000
