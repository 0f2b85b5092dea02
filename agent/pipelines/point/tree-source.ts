import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { PATCHES_DIRECTORY } from '../../archive/member.ts'
import type { LiveTree, OlderFiles } from '../../archive/write-archive.ts'
import type { ChangeList, Watch } from '../../drivers/driver.ts'
import { cString } from '../../native/libc.ts'
import { close } from '../../native/paths.ts'
import { LARGE_BYTES } from '../../native/reflink.ts'
import { Status } from '../../native/status.ts'
import { openClones } from '../../points/large-clones.ts'
import type { ImageContent } from '../../points/series-image.ts'
import type { ListedChange } from '../../tree/listing-diff.ts'
import { dropTrees } from '../instance/instance-trees.ts'
import { openOriginal } from '../original.ts'
import type { PipelineTools } from '../pipeline.ts'
import { requireFiles } from '../require-files.ts'
import { changesSince, dropBaseOf, dropSuperseded, keepBase, keepsBases, keepsLarge } from './base-snapshots.ts'
import { keepClones, type Written } from './keep-clones.ts'
import { openPathSource } from './path-source.ts'
import type { Opening, PointSource, TreeContent } from './point-source.ts'
import { openRoot } from './restore-new.ts'
import { dropListings, type Looked, lookForChanges } from './unchanged.ts'

type Spec = Pick<SpecOf<'point.create'>, 'about' | 'source' | 'pointId' | 'target' | 'series' | 'bases'>

/** Less than the frames that are in memory anyway: what is in them by then waits for no target. */
const LIVE_BYTES = 2 ** 23
/** Header and padding. */
const MEMBER_BYTES = 2_048
/** More than a tick of the clock that times of files are taken from. */
const TICK_MS = 100

const unwatched = { signal: new AbortController().signal, progress: () => undefined }

export interface WholeTree {
  /** Open for reading. */
  readonly rootFd: number
  readonly stamps: string | undefined
  readonly live: LiveTree | undefined
}

/** What is backed up: a snapshot that is named by the point and that nobody knows of, or a directory as it lives. */
export class TreeSource implements PointSource {
  readonly #spec: Spec
  readonly #jobId: string
  readonly #tools: PipelineTools
  #rootFd: number | undefined
  #live: LiveTree | undefined
  /** What the last point of the base was made of, or clones of the large files of that. */
  #older: OlderFiles | undefined
  /** Before it was listed the tree had what patches are named by: then there are none. */
  #hasPatchesName = false
  /** Nothing of the image was copied. */
  #isShared = true
  #written: Written | undefined
  #isKept = false
  #looked: Looked | undefined
  #isPartial = false
  #isLive = false
  /** Whether the tree is of one instant. */
  atomic = false

  constructor(spec: Spec, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#jobId = jobId
    this.#tools = tools
  }

  get content(): TreeContent {
    return {
      kind: 'tree',
      rootFd: this.rootFd,
      grafts: undefined,
      stamps: this.stamps,
      live: this.#live,
      older: this.#older,
      tellsLarge: this.#keepsLarge,
      isPartial: this.#isPartial,
      untouchedSinceMs: this.#isLive ? this.#untouchedSinceMs : undefined,
    }
  }

  /** Open for reading. */
  get rootFd(): number {
    if (this.#rootFd === undefined) throw new FleetError('internal', 'the source is not open')
    return this.#rootFd
  }

  /** What the snapshot's driver wrote of what it was cloned from, if it did. */
  get stamps(): string | undefined {
    return existsSync(this.#stampsPath) ? this.#stampsPath : undefined
  }

  /** Whether a snapshot holds only what differs from the point that is to be completed: open that point first. */
  get asksForBase(): boolean {
    const { source, bases } = this.#spec
    return bases.length > 0 && source.kind === 'dataset' && !keepsBases(this.#tools, source.place.pool)
  }

  /**
   * Before a directory is read that lives meanwhile: it is listed.
   * @returns what changed then or later may change again unseen; undefined for a snapshot
   */
  async settled(watch: Watch): Promise<number | undefined> {
    const { source } = this.#spec
    if (this.#isLive) return this.#looked?.settledBeforeMs
    if (source.kind !== 'path') return undefined
    const { settledBeforeMs } = await this.#look({ rootFd: this.rootFd, source: source.path }, watch)
    return settledBeforeMs
  }

  async open(watch: Watch, how: Opening): Promise<void> {
    const { source } = this.#spec
    this.close()
    this.#written = undefined
    if (source.kind === 'path') {
      this.#rootFd = openPathSource(source.path, this.#tools)
      return
    }
    assert(source.kind === 'dataset')
    const { pool } = source.place
    requireFiles(this.#tools.driver(pool))
    const olderId = this.#spec.bases.at(-1)?.id
    if (olderId !== undefined) await this.#tools.points.ended(olderId, watch.signal)
    if (!keepsBases(this.#tools, pool) && (await this.#openChanged(source.place, watch, how))) return
    await this.#snapshot(watch)
  }

  wrote(written: Written): void {
    this.#written = written
  }

  read<Result>(_watch: Watch, act: () => Promise<Result>): Promise<Result> {
    return act()
  }

  async image(): Promise<ImageContent> {
    const { source, about } = this.#spec
    assert(source.kind === 'path' || source.kind === 'dataset')
    const properties =
      source.kind === 'path' ? source : { ...source, driver: this.#tools.driver(source.place.pool).name }
    return { files: { 'properties.json': Buffer.from(`${JSON.stringify({ ...properties, about }, undefined, 2)}\n`) } }
  }

  get instead(): ((watch: Watch) => Promise<TreeContent>) | undefined {
    if (!this.#isLive) return undefined
    return async (watch) => {
      this.close()
      const changes = this.#looked?.changes
      if (changes === undefined || !(await this.#snapshotOf(changes, watch))) await this.#snapshot(watch)
      return this.content
    }
  }

  /** Of what holds only what differs, or lives: the whole tree, as it is now. Undefined where that is what is read. */
  get whole(): ((watch: Watch) => Promise<WholeTree>) | undefined {
    if (!this.#isPartial && !this.#isLive) return undefined
    return async (watch) => {
      await this.#dropImage()
      await this.#snapshot(watch)
      return { rootFd: this.rootFd, stamps: this.stamps, live: this.#live }
    }
  }

  /** What differs from the tree of the point that is to be completed, where somebody knows. */
  async changes(watch: Watch): Promise<ChangeList | undefined> {
    const { source, bases, pointId } = this.#spec
    if (this.#looked !== undefined) return this.#looked.changes
    if (source.kind !== 'dataset') return undefined
    return changesSince(this.#tools, { pool: source.place.pool, base: bases.at(-1)?.id, pointId }, watch)
  }

  async drop(): Promise<void> {
    this.#looked?.drop()
    this.#looked = undefined
    await this.#dropImage()
  }

  async #dropImage(): Promise<void> {
    this.close()
    if (this.#hasImage) await this.#destroyImage()
  }

  /** What is not claimed was never made, or is gone. */
  get #hasImage(): boolean {
    return this.#tools.points.own.has(this.#spec.pointId, 'job')
  }

  async #destroyImage(): Promise<void> {
    const { source, pointId } = this.#spec
    if (source.kind !== 'dataset') return
    await this.#tools.driver(source.place.pool).destroy(pointId, unwatched)
    this.#tools.points.own.forget(pointId)
    await rm(this.#stampsPath, { force: true })
  }

  /** The point stands: its snapshot is what the next increment is compared with, where the pool can do that. */
  async keep(): Promise<void> {
    const { source, pointId } = this.#spec
    if (source.kind !== 'dataset' || !keepsBases(this.#tools, source.place.pool)) return this.#keepListing()
    this.close()
    const { pool, dataset } = source.place
    keepBase(this.#tools, { pool, source: dataset, series: this.#series, pointId })
    // Deleted meanwhile: whoever did that dropped what was kept before.
    if ((await this.#tools.driver(pool).find(dataset)) === undefined) await dropBaseOf(this.#tools, pointId)
    dropSuperseded(this.#tools)
  }

  close(): void {
    if (this.#rootFd !== undefined) close(this.#rootFd)
    this.#rootFd = undefined
    this.#isPartial = false
    this.#isLive = false
    if (this.#live !== undefined) close(this.#live.fd)
    this.#live = undefined
    if (this.#older !== undefined) close(this.#older.fd)
    this.#older = undefined
  }

  /** @returns false when it changed so much meanwhile that all of it is needed */
  async #snapshotOf(changes: readonly ListedChange[], watch: Watch): Promise<boolean> {
    try {
      await this.#snapshot(watch, changes)
      return true
    } catch (error) {
      if (error instanceof FleetError && error.code === 'conflict') return false
      throw error
    }
  }

  async #snapshot(watch: Watch, only?: readonly ListedChange[]): Promise<void> {
    const { source, pointId } = this.#spec
    assert(source.kind === 'dataset')
    const { pool, dataset } = source.place
    this.#tools.points.own.claim({ pool, dataset: pointId, use: { kind: 'job', jobId: this.#jobId } })
    const request = {
      source: dataset,
      target: pointId,
      readonly: true,
      stamps: this.#stampsPath,
      ...(only && { only }),
    }
    const image = await this.#tools.driver(pool).snapshot(request, watch)
    this.atomic = image.atomic
    this.#isShared = image.cow
    this.#rootFd = openRoot(image.mountpoint)
    this.#live = image.original && openOriginal(image.original)
    this.#isPartial = only !== undefined
    this.#older = await this.#openOlder(pool)
  }

  async #openOlder(pool: string): Promise<OlderFiles | undefined> {
    const olderId = this.#spec.bases.at(-1)?.id
    const use = this.#tools.points.own.all().find(({ dataset }) => dataset === olderId)?.use
    if (olderId === undefined || use?.kind !== 'base' || this.#hasPatchesName) return undefined
    const older = await this.#tools.driver(pool).find(olderId)
    if (older === undefined) return undefined
    const rootFd = openRoot(older.mountpoint)
    if (!this.#keepsLarge) return { by: 'path', fd: rootFd }
    try {
      const fd = openClones(rootFd)
      return fd === undefined ? undefined : { by: 'number', fd, untilMs: use.at }
    } finally {
      close(rootFd)
    }
  }

  /** Whether clones of large files are all that is kept behind a point. */
  get #keepsLarge(): boolean {
    const { source } = this.#spec
    return source.kind === 'dataset' && keepsLarge(this.#tools, source.place.pool)
  }

  async #keepListing(): Promise<void> {
    const { source, pointId } = this.#spec
    if (this.#isKept) return
    this.#isKept = true
    await this.#looked?.keep()
    this.#looked = undefined
    if (source.kind === 'dataset') {
      const { pool, dataset } = source.place
      if ((await this.#tools.driver(pool).find(dataset)) === undefined) dropListings(this.#tools, dataset)
    }
    this.close()
    // Nobody waits for it. It is claimed until it is gone.
    if (this.#hasImage || this.#keepsLarge) this.#tools.points.later(() => this.#leave(), pointId)
  }

  /** Nothing is left of the job but clones of large files, where those are kept. */
  async #leave(): Promise<void> {
    const { source, pointId, bases } = this.#spec
    assert(source.kind === 'dataset')
    const { pool, dataset } = source.place
    const written =
      this.#isShared && this.#written !== undefined ? this.#written : { large: undefined, completes: false }
    const place = { pool, source: dataset, series: this.#series, pointId, jobId: this.#jobId }
    try {
      const read = { written, olderId: bases.at(-1)?.id, hasImage: this.#hasImage }
      if (this.#keepsLarge) await keepClones(this.#tools, { ...place, ...read })
    } finally {
      // For this the next job of the series does not wait.
      this.#tools.points.later(async () => {
        await dropTrees(this.#jobId, this.#tools)
        await rm(this.#stampsPath, { force: true })
      })
    }
  }

  /**
   * Lists the dataset as it lives. What its archive need not look at is in no snapshot; where that is everything, none is made.
   * @returns whether it is open
   */
  async #openChanged(
    { pool, dataset }: { readonly pool: string; readonly dataset: string },
    watch: Watch,
    { takesChanges, isReadAtOnce }: Opening,
  ): Promise<boolean> {
    // Of an earlier run: what is listed now may have come later.
    await this.drop()
    const live = await this.#tools.driver(pool).find(dataset)
    if (live === undefined) return false
    const rootFd = openRoot(live.mountpoint)
    let isKept = false
    try {
      this.#hasPatchesName = new Status().readName(rootFd, cString(PATCHES_DIRECTORY)) !== undefined
      const { changes } = await this.#look({ rootFd, source: dataset }, watch)
      if (changes === undefined || !takesChanges) return false
      const isEmpty = changes.length === 0
      isKept = isEmpty || (isReadAtOnce && this.#isStill)
      if (!isKept) return await this.#snapshotOf(changes, watch)
      this.#rootFd = rootFd
      this.#isPartial = isEmpty
      this.#isLive = !isEmpty
      return true
    } finally {
      if (!isKept) close(rootFd)
    }
  }

  /** Whether what differs is little, and nobody seems to write to it. Whatever is read of it is looked at again. */
  get #isStill(): boolean {
    const { changes, files } = this.#looked ?? {}
    if (changes === undefined || files === undefined) return false
    // Of an image, which is kept for the next point.
    if (this.#keepsLarge && files.mostBytes >= LARGE_BYTES) return false
    return files.bytes + changes.length * MEMBER_BYTES <= LIVE_BYTES && files.changedMs < this.#untouchedSinceMs
  }

  /** Who writes to a file later moves its time of change to one that is later than this: pages that are mapped were clean then. */
  get #untouchedSinceMs(): number {
    return (this.#looked?.startedMs ?? 0) - TICK_MS
  }

  async #look(tree: { readonly rootFd: number; readonly source: string }, watch: Watch): Promise<Looked> {
    const { pointId, bases } = this.#spec
    this.#looked?.drop()
    const listed = { source: tree.source, series: this.#series, pointId, baseId: bases.at(-1)?.id }
    this.#looked = await lookForChanges(this.#tools, { rootFd: tree.rootFd, listed }, watch)
    return this.#looked
  }

  get #series(): string {
    const { target, series } = this.#spec
    return `${target.id ?? 'own'}/${series}`
  }

  /** Not among what is scratch: the snapshot may be found again after a crash. */
  get #stampsPath(): string {
    return join(this.#tools.points.stamps, this.#spec.pointId)
  }
}
