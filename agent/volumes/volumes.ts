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

/** What is to take a volume's name: under none that anybody sees until then. */
export interface StagedVolume extends AsyncDisposable {
  /** The volume's from when it has the name. */
  readonly guid: string
  readonly sizeBytes: number
  /** Absolute; it can be opened. */
  readonly device: string
  /**
   * Puts what was written to it on disk and gives it its name, in one step: whatever ends this process or the host, the name is then the
   * old volume's or this one's, as their guids tell, and a `sweep` leaves nothing of the other. `over`: what had the name is gone, its
   * snapshots stay.
   * @throws exists, where `new` finds something; not_found, where `over` finds no volume
   */
  put(mode: 'new' | 'over', watch: Watch): Promise<Volume>
  /** Removes it, unless it has its name. */
  [Symbol.asyncDispose](): Promise<void>
}

export interface StageRequest {
  readonly volume: string
  /** Zeros of that size, or what the volume was at one of its snapshots; that rests on it no more than the volume itself does. */
  readonly content: { readonly sizeBytes: number } | { readonly snapshot: string }
  /** Parents are made where they are missing, when it is put; else their absence is `not_found`. */
  readonly createParent: boolean
}

/** A volume as it was at one instant, for who asked for it alone: no list shows it, and neither volumes nor snapshots wait for it to go. */
export interface Capture {
  /** Absolute; it can be opened for reading. */
  readonly device: string
  readonly sizeBytes: number
}

/** `id`: of a point. */
export interface CaptureName {
  readonly volume: string
  readonly id: string
}

/** In bytes; `isWritten`: else nothing is stored there any more, or never was, and it reads as zeros. */
export interface ChangedRange {
  readonly offset: number
  /** Infinity: to the volume's end. */
  readonly bytes: number
  readonly isWritten: boolean
}

/** What a technology keeps of a capture to tell later what changed since, without its content: it takes no room and stands in nobody's way. */
export interface CaptureBases {
  /** The capture is a base from then on and a capture no more. Idempotent. @returns false where none can be made of it */
  keep(name: CaptureName): Promise<boolean>
  has(name: CaptureName): Promise<boolean>
  /**
   * All that may differ between a base and a later capture of the volume, each place at least once and in no sequence.
   * @returns undefined when all is told; else why that is not known, for people: what was told until then is worth nothing
   */
  changes(
    between: { readonly volume: string; readonly baseId: string; readonly id: string },
    take: (range: ChangedRange) => void,
    signal: AbortSignal,
  ): Promise<string | undefined>
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
  /**
   * A clone that rests on its snapshot no more, though it shares blocks with it; what is no clone stays as it is. Absent where the technology
   * has clones rest on their snapshots. @throws not_found
   */
  readonly part?: (volume: string, watch: Watch) => Promise<Volume>
  /** Waits until the devices of volumes that were made or cloned can be opened. A no-op for files. @throws unavailable, naming one */
  settle(volumes: readonly Volume[], watch: Watch): Promise<void>
  /** Only larger. Sparse. */
  resize(request: { readonly volume: string; readonly sizeBytes: number }, watch: Watch): Promise<Volume>
  /** `conflict` with `blockers` while it has snapshots, or clones rest on them. Its empty parents that `createParent` made may go or stay. */
  destroy(volume: string, watch: Watch): Promise<void>
  /** `conflict` with `blockers` while clones rest on it. */
  destroySnapshot(volume: string, snapshot: string, watch: Watch): Promise<void>
  find(volume: string): Promise<Volume | undefined>
  /** The volume that has this device, there or not; undefined: none of this pool could. @param device absolute */
  at(device: string): string | undefined
  findSnapshot(volume: string, snapshot: string): Promise<VolumeSnapshot | undefined>
  /** @throws not_found: no such volume, or snapshot of it */
  stage(request: StageRequest, watch: Watch): Promise<StagedVolume>
  /** True: what differs between two captures can be told without reading them, so that one is worth keeping. */
  readonly keepsCaptures: boolean
  /** Of the volume as it is, or as it was at one of its snapshots. Goes with the volume at the latest. */
  capture(request: CaptureName & { readonly snapshot?: string | undefined }, watch: Watch): Promise<Capture>
  findCapture(name: CaptureName): Promise<Capture | undefined>
  /** A base that was made of it goes too. */
  dropCapture(name: CaptureName): Promise<void>
  /** Where what differs is told without the older capture. Elsewhere captures are kept as they are, and the images' extents compared. */
  readonly bases?: CaptureBases
  /** By path, also those that nobody made through us. @param after the last path of the page before, '' for the first */
  list(after: string, limit: number): Promise<readonly (Volume & { readonly snapshots: readonly VolumeSnapshot[] })[]>
  /** Removes what an interrupted call left staged; ends what a `put` had begun. Only called while no call runs. */
  sweep(): Promise<void>
}
