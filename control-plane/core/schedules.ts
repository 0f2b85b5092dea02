import type { Caller } from './caller.ts'
import type { Condition } from './condition.ts'
import type { Page, PageRequest } from './page.ts'
import type { At } from './recurrence-schema.ts'
import type { DeleteRule, KeepRule } from './retention-reasons.ts'
import type { ScheduleRun, ScheduleRunFilter } from './runs.ts'

/** What can be backed up by a schedule. `container` names it: a dataset, an absolute directory, or a container of that engine. */
export const SOURCE_TYPES = ['dataset', 'path', 'lxc', 'docker'] as const
export type SourceType = (typeof SOURCE_TYPES)[number]

/**
 * - `compress`    archives are compressed
 * - `pause`       a container is frozen while its snapshot is taken
 * - `stop`        a container is stopped around its snapshot, and started again if it ran
 * - `incremental` a run completes the newest good point
 * - `verify`      a good run's point is read again and compared
 */
export const FEATURES = ['compress', 'pause', 'stop', 'incremental', 'verify'] as const
export type Feature = (typeof FEATURES)[number]

/**
 * - `init`      nothing has happened to it yet
 * - `scheduled` waits for its next run
 * - `waiting`   a run is due, and waits for a slot or its host
 * - `running`   an agent works on a run
 * - `completed` there will be no run: a oneshot that is over, or one that was disabled after it had run
 */
export const STATE_CODES = ['init', 'scheduled', 'waiting', 'running', 'completed'] as const
export type StateCode = (typeof STATE_CODES)[number]

/** In these nothing is under way, so a schedule or restore task may be deleted. */
export const IDLE_CODES: readonly StateCode[] = ['init', 'scheduled', 'completed']

/** 0 good, −1 failed, −2 stopped. */
export type RunResult = 0 | -1 | -2

export interface ScheduleState {
  readonly code: StateCode
  /** Of the last run that ended; null before the first. */
  readonly result: RunResult | null
  /** When the last run began (fired, whether or not it went well). */
  readonly lastRun: Date | null
  /** The next due instant; null when there is none: disabled, or over. */
  readonly nextRun: Date | null
  /** −1 (not known) to 99 while it waits or runs; else null. */
  readonly progress: number | null
}

/** A backup that is made again and again. */
export interface Schedule {
  readonly id: string
  /** A small number, unique over the fleet's schedules: what dialects with integer ids show. */
  readonly number: number
  readonly groupId: string
  readonly name: string
  readonly type: SourceType
  readonly container: string
  /** As it was asked for, or the only host that allows the directory; null: wherever the dataset or container is. */
  readonly host: string | null
  /** Null: the host's own backup root. */
  readonly target: { readonly id: string; readonly number: number; readonly name: string } | null
  /** Below the target's base, as it was given. */
  readonly path: string
  /** As it was given; members that we do not know are kept. */
  readonly at: At
  /** The zone its times are meant in: its own, or the server's. */
  readonly timezone: string
  readonly disabled: boolean
  /** How many good points stay; 0: all. */
  readonly retention: number
  readonly features: readonly Feature[]
  readonly state: ScheduleState
  readonly createdAt: Date
  /** Grows with every change of what was asked and with every step of a run. */
  readonly version: number
}

export interface CreateSchedule {
  readonly name: string
  readonly type: SourceType
  readonly container: string
  readonly host?: string | undefined
  /** A target's id or number as text; absent: the host's own backup root. */
  readonly target?: string | undefined
  readonly path: string
  /** `{repeat, start, days?, timezone?, keep?, …}`: checked here. */
  readonly at: unknown
  readonly disabled?: boolean | undefined
  readonly retention?: number | undefined
  readonly features?: readonly Feature[] | undefined
}

/** Absent members stay. `target` null: the host's own backup root. `at` is the whole of it. */
export interface ChangeSchedule {
  readonly name?: string | undefined
  readonly type?: SourceType | undefined
  readonly container?: string | undefined
  readonly host?: string | null | undefined
  readonly target?: string | null | undefined
  readonly path?: string | undefined
  readonly at?: unknown
  readonly disabled?: boolean | undefined
  readonly retention?: number | undefined
  readonly features?: readonly Feature[] | undefined
}

export type ScheduleCondition = Condition<Schedule>

/** What a prune would do now, and why. */
export interface RetentionPreview {
  readonly delete: readonly PreviewedPoint<DeleteRule>[]
  readonly keep: readonly PreviewedPoint<KeepRule>[]
  /** Deleted by earlier runs, and still to be had back. */
  readonly trashed: readonly TrashedPoint[]
}

export interface PreviewedPoint<Rule> {
  readonly id: string
  /** Of its directory: `20260131T235959Z`. */
  readonly name: string
  readonly takenAt: Date
  readonly rule: Rule
  /** For people. */
  readonly why: string
}

export interface TrashedPoint {
  readonly id: string
  readonly name: string
  readonly trashedAt: Date
  /** When its bytes are removed. */
  readonly removedAt: Date
}

/** What a job is part of, for those who follow the feed. */
export interface JobTask {
  readonly jobId: string
  readonly kind: 'backup' | 'restore'
  /** Of the schedule or restore task. */
  readonly number: number
}

/**
 * Schedules of the caller's group; changes need the role operator. `id` is the uuid or the number, as text. All throw
 * not_found for another group's.
 */
export interface Schedules {
  /**
   * @throws invalid; exists (name at that target and path); not_found (target, host, container); conflict (several hosts allow that
   * directory or have that container, and none is named: `blockers`); refused (a directory without the role over the fleet, or that the host does not allow).
   */
  create(caller: Caller, request: CreateSchedule): Promise<Schedule>
  get(caller: Caller, id: string): Promise<Schedule>
  /** By number. @throws invalid for a cursor that is not ours. */
  list(caller: Caller, page: PageRequest): Promise<Page<Schedule>>
  /** @throws as `create`, and stale; conflict: source, target, path and name of one that waits or runs stay. */
  change(caller: Caller, id: string, request: ChangeSchedule, ifMatch?: ScheduleCondition): Promise<Schedule>
  /** Its points stay. @throws conflict: it waits or runs; stale */
  delete(caller: Caller, id: string, ifMatch?: ScheduleCondition): Promise<Schedule>
  /** Now, disabled or not; `waiting` is stored before this answers. @throws conflict: it waits or runs already; stale */
  run(caller: Caller, id: string, ifMatch?: ScheduleCondition): Promise<Schedule>
  /** The run that waits or runs ends as `stopped`; nothing happens to an idle one. @throws stale */
  stop(caller: Caller, id: string, ifMatch?: ScheduleCondition): Promise<Schedule>
  /** Newest first. */
  runs(caller: Caller, id: string, filter: ScheduleRunFilter, page: PageRequest): Promise<Page<ScheduleRun>>
  retentionPreview(caller: Caller, id: string): Promise<RetentionPreview>
  /**
   * Takes a point that retention deleted back, while its undo window lasts, and pins it: else the next prune would delete it again. With it
   * come those that it rests on. They are good points again as soon as they stand in their series, by a job of an agent; until then it may
   * be asked again, and a move that failed is ordered at once.
   * @throws not_found; conflict: it is not trashed, or its bytes are being removed
   */
  undelete(caller: Caller, pointId: string): Promise<void>
  /** Which schedules and restore tasks of the caller's group jobs are part of; others are left out. Never changes once a job has one. */
  tasksOf(caller: Caller, jobIds: readonly string[]): Promise<readonly JobTask[]>
}
