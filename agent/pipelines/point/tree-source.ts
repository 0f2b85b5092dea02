import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { ChangeList, Watch } from '../../drivers/driver.ts'
import { SETTLED_MS } from '../../drivers/tree/stamp-file.ts'
import { syncFileSystem } from '../../native/file-system.ts'
import { close } from '../../native/paths.ts'
import type { PipelineTools } from '../pipeline.ts'
import { changesSince, dropBaseOf, dropSuperseded, keepBase, keepsBases } from './base-snapshots.ts'
import { openPathSource } from './path-source.ts'
import { openRoot } from './restore-new.ts'

type Spec = Pick<SpecOf<'point.create'>, 'source' | 'pointId' | 'target' | 'series' | 'bases'>

const unwatched = { signal: new AbortController().signal, progress: () => undefined }

/** What is backed up: a snapshot that is named by the point and that nobody knows of, or a directory as it lives. */
export class TreeSource {
  readonly #spec: Spec
  readonly #jobId: string
  readonly #tools: PipelineTools
  #rootFd: number | undefined
  /** Whether the tree is of one instant. */
  atomic = false

  constructor(spec: Spec, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#jobId = jobId
    this.#tools = tools
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

  /**
   * Before a directory is read that lives meanwhile: its dirty pages are written, as they are for stamps of a clone, so that what
   * changes from here on has a later ctime. @returns what changed then or later may change again unseen; undefined for a snapshot
   */
  async settled(): Promise<number | undefined> {
    if (this.#spec.source.kind !== 'path') return undefined
    const settledBeforeMs = Date.now() - SETTLED_MS
    await syncFileSystem(this.rootFd)
    return settledBeforeMs
  }

  async open(watch: Watch): Promise<void> {
    const { source, pointId } = this.#spec
    this.close()
    if (source.kind === 'path') {
      this.#rootFd = openPathSource(source.path, this.#tools)
      return
    }
    if (source.kind === 'instance') throw new FleetError('refused', 'this agent does not back instances up yet')
    const { pool, dataset } = source.place
    const driver = this.#tools.driver(pool)
    if (driver.name === 'sim') throw new FleetError('refused', 'simulated pools hold no files')
    this.#tools.points.own.claim({ pool, dataset: pointId, use: { kind: 'job', jobId: this.#jobId } })
    const request = { source: dataset, target: pointId, readonly: true, stamps: this.#stampsPath }
    const image = await driver.snapshot(request, watch)
    this.atomic = image.atomic
    this.#rootFd = openRoot(image.mountpoint)
  }

  /** What differs from the tree of the point that is to be completed, where somebody knows. */
  async changes(watch: Watch): Promise<ChangeList | undefined> {
    const { source, bases, pointId } = this.#spec
    if (source.kind !== 'dataset') return undefined
    return changesSince(this.#tools, { pool: source.place.pool, base: bases.at(-1)?.id, pointId }, watch)
  }

  async drop(): Promise<void> {
    const { source, pointId } = this.#spec
    this.close()
    // What is not claimed was never made, or is gone.
    if (source.kind !== 'dataset' || !this.#tools.points.own.has(pointId, 'job')) return
    await this.#tools.driver(source.place.pool).destroy(pointId, unwatched)
    this.#tools.points.own.forget(pointId)
    await rm(this.#stampsPath, { force: true })
  }

  /** The point stands: its snapshot is what the next increment is compared with, where the pool can do that. */
  async keep(): Promise<void> {
    const { source, pointId, target, series } = this.#spec
    if (source.kind !== 'dataset' || !keepsBases(this.#tools, source.place.pool)) return this.drop()
    this.close()
    const { pool, dataset } = source.place
    keepBase(this.#tools, { pool, source: dataset, series: `${target.id ?? 'own'}/${series}`, pointId })
    // Deleted meanwhile: whoever did that dropped what was kept before.
    if ((await this.#tools.driver(pool).find(dataset)) === undefined) await dropBaseOf(this.#tools, pointId)
    dropSuperseded(this.#tools)
  }

  close(): void {
    if (this.#rootFd !== undefined) close(this.#rootFd)
    this.#rootFd = undefined
  }

  /** Not among what is scratch: the snapshot may be found again after a crash. */
  get #stampsPath(): string {
    return join(this.#tools.points.stamps, this.#spec.pointId)
  }
}
