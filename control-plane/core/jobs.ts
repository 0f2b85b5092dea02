import type { JobFailure, Phase, Progress } from '../../shared/job-event.ts'
import type { JobState } from '../../shared/job-machine.ts'
import type { JobKind, JobSpec } from '../../shared/job-spec.ts'
import type { Caller } from './caller.ts'
import type { Page, PageRequest } from './page.ts'

export interface Job {
  readonly id: string
  readonly kind: JobKind
  readonly spec: JobSpec
  readonly state: JobState
  readonly host: string
  readonly attempt: number
  readonly progress: Progress | null
  readonly phases: readonly Phase[]
  readonly error: JobFailure | null
  readonly result: unknown
  /** The dataset that the job makes, changes or deletes; its name when it was ordered. */
  readonly subject: { readonly id: string; readonly name: string } | null
  readonly retryOf: string | null
  readonly createdBy: string
  readonly createdAt: Date
  readonly startedAt: Date | null
  readonly finishedAt: Date | null
}

export interface JobFilter {
  readonly state?: readonly JobState[] | undefined
  readonly kind?: JobKind | undefined
  readonly host?: string | undefined
  /** A dataset's name. */
  readonly dataset?: string | undefined
}

export interface Jobs {
  /** @throws not_found. */
  get(caller: Caller, id: string): Promise<Job>
  /** Newest first. @throws invalid for a cursor that is not ours. */
  list(caller: Caller, filter: JobFilter, page: PageRequest): Promise<Page<Job>>
  /** Asks a job to stop: cancelled at once when it was never sent, else when its agent confirms. @throws not_found, conflict (already ended). */
  cancel(caller: Caller, id: string): Promise<Job>
  /** A new job for the same work, with `retryOf`. @throws not_found, conflict (not failed or cancelled, or its dataset has moved on). */
  retry(caller: Caller, id: string): Promise<Job>
  /**
   * Waits for the end of a job and gives its result.
   * @throws the job's own failure; timeout (the job goes on); unavailable when its host stayed silent and the order was withdrawn.
   */
  settled(id: string, options: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<unknown>
}
