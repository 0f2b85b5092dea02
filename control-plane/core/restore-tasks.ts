import type { Caller } from './caller.ts'
import type { Condition } from './condition.ts'
import type { Page, PageRequest } from './page.ts'
import type { RunResult, SourceType, StateCode } from './schedules.ts'

export interface RestoreTaskState {
  readonly code: StateCode
  readonly result: RunResult | null
  readonly lastRun: Date | null
  /** When it began and when it had ended. */
  readonly start: Date | null
  readonly end: Date | null
  /** −1 (not known) to 99 while it waits or runs; else null. */
  readonly progress: number | null
  /** Why it failed. */
  readonly reason: string | null
}

/** A restore that is ordered by the name of a backup. It runs once, as soon as it is made. */
export interface RestoreTask {
  readonly id: string
  /** A small number, unique over the fleet's restore tasks. */
  readonly number: number
  readonly groupId: string
  readonly name: string
  /** What it is restored to: a dataset's name, an absolute directory, or a container's. */
  readonly type: SourceType
  readonly container: string
  readonly host: string | null
  /** A container is started when it is there. */
  readonly start: boolean
  readonly source: RestoreTaskSource
  readonly disabled: boolean
  readonly state: RestoreTaskState
  readonly pointId: string | null
  readonly jobId: string | null
  readonly createdAt: Date
  readonly version: number
}

export interface RestoreTaskSource {
  /** Null: the host's own backup root. */
  readonly target: { readonly id: string; readonly number: number; readonly name: string } | null
  /** As it was given. */
  readonly path: string
  /** `<schedule's name or number>[/<timestamp>]`, as it was given; without a timestamp the newest good point. */
  readonly portfolio: string
}

export interface CreateRestoreTask {
  readonly name: string
  readonly type: SourceType
  readonly container: string
  readonly host?: string | undefined
  readonly source: {
    /** A target's id or number as text; absent: the host's own backup root. */
    readonly target?: string | undefined
    readonly path: string
    readonly portfolio: string
  }
  /** Of a container: default false. */
  readonly start?: boolean | undefined
  /** It is kept, and does nothing. */
  readonly disabled?: boolean | undefined
}

export type RestoreTaskCondition = Condition<RestoreTask>

/** Restore tasks of the caller's group; changes need the role operator. `id` is the uuid or the number, as text. */
export interface RestoreTasks {
  /**
   * What it restores is found when it begins, so a portfolio that names nothing fails the task and not this call.
   * @throws invalid, not_found (target, host), conflict (several hosts have that container: `blockers`), refused (a directory without the role over the fleet)
   */
  create(caller: Caller, request: CreateRestoreTask): Promise<RestoreTask>
  get(caller: Caller, id: string): Promise<RestoreTask>
  /** By number. */
  list(caller: Caller, page: PageRequest): Promise<Page<RestoreTask>>
  /** What it restores to stays as it was, unless the restore is over. Nothing happens to one that has ended. @throws stale */
  stop(caller: Caller, id: string, ifMatch?: RestoreTaskCondition): Promise<RestoreTask>
  /** @throws conflict: it waits or runs; stale */
  delete(caller: Caller, id: string, ifMatch?: RestoreTaskCondition): Promise<RestoreTask>
}
