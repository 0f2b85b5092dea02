import type { OrderTarget } from '../../shared/point-spec.ts'
import type { Dialer } from '../transfer/dial.ts'
import type { Target } from '../transfer/transfer.ts'
import type { OwnDatasets } from './own-datasets.ts'

/** A target in use; it may be closed once all who use it have given it back. */
export interface TargetLease extends AsyncDisposable {
  readonly target: Target
  /** age identities that came with the target's secret. */
  readonly identities: readonly string[]
  /** Equal for targets of one configuration and secret. */
  readonly key: string
}

export interface TargetRequest {
  readonly target: OrderTarget
  /** A TargetSecret as JSON, sealed for this agent under `context`, base64; undefined where the target needs none. */
  readonly sealed: string | undefined
  readonly context: string
}

/** What work on points may use of this agent. */
export interface PointTools {
  /** Prefixes (with a trailing slash) below which directories may be backed up. */
  readonly sourcePaths: readonly string[]
  /** A directory for nameless files that are needed while an archive is written or read. */
  readonly scratch: string
  /** Holds plain indexes of encrypted points, a directory each, named by the point's id. */
  readonly indexes: string
  /** Where drivers write what an archive of a clone must know, a file each, named by the point's id. */
  readonly stamps: string
  /** Holds what trees were when their last points were made, a file each (agent/pipelines/point/unchanged.ts). */
  readonly listings: string
  readonly own: OwnDatasets
  /** Where this agent may connect to. */
  readonly dialer: Dialer
  /** @throws refused when this host has no key for sealed secrets; invalid what the configuration lacks */
  lease(request: TargetRequest): Promise<TargetLease>
  /**
   * Work that nobody waits for, and that is done again when the agent starts should it fail; awaited when the agent stops. What is of one point is done
   * one after another.
   */
  later(work: () => Promise<void>, pointId?: string): void
  /** All of what was left of that point is done, or has failed. @throws cancelled */
  ended(pointId: string, signal: AbortSignal): Promise<void>
  /** A turn among those who read or write whole archives: each needs a hundred MiB at most. @returns gives it back. @throws cancelled */
  turn(signal: AbortSignal): Promise<() => void>
  /** The same, where one is free: else undefined. */
  freeTurn(): (() => void) | undefined
}
