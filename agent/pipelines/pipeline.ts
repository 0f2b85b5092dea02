import type { InstanceType } from '../../shared/instance-spec.ts'
import type { JobKind, ResultOf, SpecOf } from '../../shared/job-spec.ts'
import type { Logger } from '../../shared/logger.ts'
import type { PlaceInDataset } from '../drivers/dataset-at.ts'
import type { Driver, Watch } from '../drivers/driver.ts'
import type { ExportKeeper } from '../export/export-keeper.ts'
import type { Instances } from '../instances/instances.ts'
import type { PointTools } from '../points/point-tools.ts'
import type { Unseal } from '../points/targets.ts'
import type { Volumes } from '../volumes/volumes.ts'
import type { HoldTurns } from './instance/hold-turns.ts'
import type { StoppedNotes } from './instance/stopped-notes.ts'

/** What the journal remembers for one job across restarts of the agent. */
export interface JobMemory {
  /** What an earlier or this run noted of what it staged, if one got that far; empty once that was taken back. */
  staged(): string | undefined
  /** Remembers it durably; resolves after fsync. Call before the committing rename, never after. */
  stage(identity: string): Promise<void>
}

export interface StepContext extends Watch {
  readonly jobId: string
  readonly memory: JobMemory
  /** The secret of the order's target, sealed for this agent. */
  readonly secret?: string | undefined
  /** Says that the job needs its source dataset no longer: others may have it. */
  release(): void
}

/** What an undo is given. */
export type UndoContext = Pick<StepContext, 'jobId' | 'memory' | 'secret'>

/**
 * One idempotent act. `undo` removes what `run` made, and is called in reverse order for every step that was begun when a
 * later one fails or the job is cancelled, but only before the commit.
 */
export interface Step {
  readonly name: string
  run(context: StepContext): Promise<void>
  undo?(context: UndoContext): Promise<void>
  /** After this step's `run` returns the effect is visible; nothing is undone any more. At most one step of a pipeline. */
  readonly commits?: true
}

/** The steps of one order. `result` is read once every step has run. */
export interface Work<Kind extends JobKind> {
  readonly steps: readonly Step[]
  result(): ResultOf<Kind>
  /**
   * Asked after each step: whether an earlier run of this job already made the effect visible. From then on nothing is undone
   * and the signal is ignored, as after a step that `commits`.
   */
  committed?(): boolean
  /**
   * Of work whose first step commits: asked when it is cancelled before that, and an earlier run of this job may have done it. Takes back what
   * that made. @returns true when it was done, and stays so: the job has succeeded
   */
  late?(): Promise<boolean>
  /** Releases descriptors; called once, whatever happened. */
  close?(): Promise<void>
}

/** What pipelines may use of this agent. */
export interface PipelineTools {
  /** @throws not_found when this agent has no such pool. */
  driver(pool: string): Driver
  /** @throws not_found as `driver`; unavailable when that pool can hold none. */
  volumes(pool: string): Volumes
  exports: ExportKeeper
  /** Opens what came sealed beside an order, of the context `order/<jobId>`; undefined for a host that has no key of its own. */
  readonly unseal: Unseal | undefined
  /** For what of a job failed when the job itself does not. */
  readonly logger: Logger
  /** Prefixes (with a trailing slash) below which a restore may leave its dataset. */
  readonly restorePaths: readonly string[]
  /** Paths no restore may touch whatever `restorePaths` says: pools, agent state. */
  readonly forbiddenPaths: readonly string[]
  readonly points: PointTools
  /** @throws unavailable when this agent serves none of that type. */
  instances(type: InstanceType): Instances
  /** How long an instance may be kept frozen: what its watchdog is told. */
  readonly freezeMs: number
  readonly stopped: StoppedNotes
  readonly turns: HoldTurns
  /** The dataset of one of this agent's pools that holds a directory of the host; undefined where none does. */
  datasetAt(path: string): Promise<PlaceInDataset | undefined>
}

export type Pipeline<Kind extends JobKind> = (spec: SpecOf<Kind>, jobId: string, tools: PipelineTools) => Work<Kind>

/** One pipeline a job kind. */
export type Pipelines = { readonly [Kind in JobKind]: Pipeline<Kind> }
