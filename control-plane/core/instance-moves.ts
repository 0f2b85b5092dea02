import type { InstanceType } from '../../shared/instance-spec.ts'
import type { Caller } from './caller.ts'
import type { Condition } from './condition.ts'
import type { Page, PageRequest } from './page.ts'

/**
 * How an instance comes to another host. Its original runs on until `stop`:
 *
 * - `copy`     a point of it, on a target that both hosts reach
 * - `precopy`  that point becomes a dataset on the other host
 * - `stop`     the original is stopped: from here on it is down
 * - `final`    a point of what has changed since
 * - `switch`   the dataset is brought up to date and becomes the instance, which is started
 * - `restart`  what went wrong is taken back: the original is started, if it ran
 * - `discard`  the dataset on the other host goes
 * - `tidy`     the points go, after a success too
 */
export const MOVE_PHASES = [
  'copy',
  'precopy',
  'stop',
  'final',
  'switch',
  'restart',
  'discard',
  'tidy',
  'ended',
] as const
export type MovePhase = (typeof MOVE_PHASES)[number]

/** `moved`: it is there. The others: it is where it was. */
export const MOVE_OUTCOMES = ['moved', 'failed', 'cancelled'] as const
export type MoveOutcome = (typeof MOVE_OUTCOMES)[number]

/** An instance on its way to another host, or one that was. */
export interface InstanceMove {
  readonly id: string
  /** A small number, unique over the fleet's migrations. */
  readonly number: number
  readonly groupId: string
  readonly instance: { readonly id: string; readonly type: InstanceType; readonly name: string; readonly host: string }
  /** `instanceId`: null until it stands there. */
  readonly to: { readonly host: string; readonly pool: string | null; readonly instanceId: string | null }
  /** Null: it was deleted since. */
  readonly target: { readonly id: string; readonly name: string } | null
  readonly phase: MovePhase
  /** Known from `restart`, `discard` or `tidy` on. */
  readonly outcome: MoveOutcome | null
  /** Why it failed, what it waits for, or what is left to do by hand. */
  readonly reason: string | null
  /** Of the phase's job: −1 (not known) to 99; null without one. */
  readonly progress: number | null
  readonly jobId: string | null
  /** From the order to stop it until it ran again, here or there; null until then, and where it did not run. */
  readonly downtimeMs: number | null
  readonly isStopping: boolean
  readonly createdAt: Date
  readonly endedAt: Date | null
  readonly version: number
}

export interface MigrateInstance {
  readonly host: string
  /** Of that host; absent: the one with most free bytes. */
  readonly pool?: string | undefined
  /** A target's id, which both hosts reach. */
  readonly target: string
  /** Absent: if it ran. */
  readonly start?: boolean | undefined
}

export interface MoveFilter {
  readonly instance?: string | undefined
  /** Those that go on. */
  readonly open?: boolean | undefined
}

type MoveCondition = Condition<InstanceMove>

/** Migrations of the caller's group; changes need the role operator. `id` is the uuid. */
export interface InstanceMoves {
  /**
   * @throws invalid (`local` or no target, its own host), not_found (instance, host, pool, target), exists (its name is taken there),
   * conflict (it is being made, frozen, or migrated already), unavailable (a host is offline or drains)
   */
  create(caller: Caller, instanceId: string, request: MigrateInstance): Promise<InstanceMove>
  get(caller: Caller, id: string): Promise<InstanceMove>
  /** Newest first. @throws invalid for a cursor that is not ours. */
  list(caller: Caller, filter: MoveFilter, page: PageRequest): Promise<Page<InstanceMove>>
  /** Takes it back. Nothing happens to one that has ended or is taken back already. @throws conflict: it is being started there; stale */
  stop(caller: Caller, id: string, ifMatch?: MoveCondition): Promise<InstanceMove>
}
