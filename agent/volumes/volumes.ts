import type { Watch } from '../drivers/driver.ts'

export interface VolumeSnapshot {
  readonly name: string
  readonly guid: string
  readonly sizeBytes: number
  readonly createdAtMs: number
}

export interface Volume {
  /** Below the pool. */
  readonly path: string
  readonly sizeBytes: number
  /** Absolute: the block device, or the raw image. */
  readonly device: string
  /** Never given twice on this host, also when one of the same path is made again. */
  readonly guid: string
  /** What it was cloned from; `path` is where that snapshot is now, undefined when it is gone. */
  readonly origin: { readonly guid: string; readonly path: string | undefined; readonly snapshot: string } | undefined
  /** Written to since it was cloned or made. */
  readonly isWritten: boolean
}

export interface CloneRequest {
  readonly source: { readonly volume: string; readonly snapshot: string }
  readonly target: string
  /** Parents are made where they are missing; else their absence is `not_found`. */
  readonly createParent: boolean
}

/**
 * The volumes of one pool, by their paths below it. Every method is idempotent as a driver's is: what is there as asked for is
 * found, what is absent is destroyed already; what is made is whole or absent, a kill at any instruction leaves at most staged litter
 * that `sweep` removes. Nothing is ever recursive. Failures are FleetErrors: `not_found` (source, pool, parent), `exists` (another
 * thing has the name), `conflict` (with `blockers`: paths of clones and snapshots that rest on it; or a smaller size), `no_space`, `busy`.
 */
export interface Volumes {
  /** True: a clone shares blocks with its snapshot. */
  readonly cow: boolean
  create(
    request: { readonly volume: string; readonly sizeBytes: number; readonly createParent: boolean },
    watch: Watch,
  ): Promise<Volume>
  snapshot(request: { readonly volume: string; readonly snapshot: string }, watch: Watch): Promise<VolumeSnapshot>
  /**
   * `exists` when the target is there and is no clone of this snapshot; one that is, is found. Answers stand in the requests' sequence:
   * one that fails fails alone. Where the technology does better on many at once (ZFS), it may.
   */
  clone(
    requests: readonly CloneRequest[],
    watch: Watch,
  ): Promise<readonly ({ readonly volume: Volume; readonly reused: boolean } | Error)[]>
  /** Waits until the devices of volumes that were made or cloned can be opened. A no-op for files. @throws unavailable, naming one */
  settle(volumes: readonly Volume[], watch: Watch): Promise<void>
  /** Only larger. Sparse. */
  resize(request: { readonly volume: string; readonly sizeBytes: number }, watch: Watch): Promise<Volume>
  /** `conflict` with `blockers` while it has snapshots, or clones rest on them. Its empty parents that `createParent` made may go or stay. */
  destroy(volume: string, watch: Watch): Promise<void>
  /** `conflict` with `blockers` while clones rest on it. */
  destroySnapshot(volume: string, snapshot: string, watch: Watch): Promise<void>
  find(volume: string): Promise<Volume | undefined>
  findSnapshot(volume: string, snapshot: string): Promise<VolumeSnapshot | undefined>
  /** By path, also those that nobody made through us. @param after the last path of the page before, '' for the first */
  list(after: string, limit: number): Promise<readonly (Volume & { readonly snapshots: readonly VolumeSnapshot[] })[]>
  /** Removes what an interrupted call left staged. Only called while no call runs. */
  sweep(): Promise<void>
}
