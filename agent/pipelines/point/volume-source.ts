import assert from 'node:assert/strict'
import { closeSync, openSync } from 'node:fs'
import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { changedChunks } from '../../archive/image/changed-chunks.ts'
import { ChunkMarks } from '../../archive/image/chunk-marks.ts'
import type { Watch } from '../../drivers/driver.ts'
import type { ImageContent } from '../../points/series-image.ts'
import type { CaptureBases, Volumes } from '../../volumes/volumes.ts'
import type { PipelineTools } from '../pipeline.ts'
import { refuseDisk } from '../volume/domain-disks.ts'
import { refuseExported } from '../volume/exported.ts'
import { dropBaseOf, dropSuperseded, keepBase, sourceOf } from './base-snapshots.ts'
import { DiskSource, imageOf } from './disk-source.ts'
import type { DiskContent, ImageBelow, PointSource } from './point-source.ts'

type Spec = Pick<SpecOf<'point.create'>, 'about' | 'pointId' | 'target' | 'series' | 'bases'>
type Source = Extract<SpecOf<'point.create'>['source'], { readonly kind: 'volume' }>

/**
 * A volume as it is or was at a snapshot, by a capture that is named by the point and that nobody knows of. Where it can be compared
 * with the next one, it is kept for that.
 */
export class VolumeSource extends DiskSource implements PointSource {
  readonly #spec: Spec
  readonly #source: Source
  readonly #jobId: string
  readonly #tools: PipelineTools
  #open: { readonly fd: number; readonly sizeBytes: number } | undefined

  constructor(spec: Spec, source: Source, jobId: string, tools: PipelineTools) {
    super()
    this.#spec = spec
    this.#source = source
    this.#jobId = jobId
    this.#tools = tools
  }

  get content(): DiskContent {
    assert(this.#open)
    return { kind: 'disk', ...this.#open, changed: (...asked) => this.#changed(...asked) }
  }

  async open(watch: Watch): Promise<void> {
    this.close()
    const { place, snapshot } = this.#source
    const { pool, volume } = place
    // A copy takes its time, and what an initiator writes meanwhile would be in it in part.
    if (!this.#volumes.cow && snapshot === undefined) {
      refuseExported(this.#tools, place, 'is exported, and a copy of what is written meanwhile is no backup')
      await refuseDisk(this.#tools, place, { by: 'those that are not stopped', signal: watch.signal })
    }
    const { pointId } = this.#spec
    const { own } = this.#tools.points
    const use = { kind: 'job', jobId: this.#jobId } as const
    const begun = own.all().find(({ dataset }) => dataset === pointId)?.guid
    if (begun !== undefined) await this.#requireSame(begun)
    const guid = begun ?? (await this.#volumes.find(volume))?.guid
    own.claim({ pool, dataset: pointId, volume, use, ...(guid !== undefined && { guid }) })
    const { device, sizeBytes } = await this.#volumes.capture({ volume, id: pointId, snapshot }, watch)
    this.#open = { fd: openSync(device, 'r'), sizeBytes }
  }

  /**
   * Of an order that is begun again: its volume was given back once it was captured, and may be deleted since, with what was captured of it.
   * @throws not_found where another has its name
   */
  async #requireSame(guid: string): Promise<void> {
    const { volume } = this.#source.place
    if ((await this.#volumes.findCapture({ volume, id: this.#spec.pointId })) !== undefined) return
    if ((await this.#volumes.find(volume))?.guid === guid) return
    throw new FleetError('not_found', `the volume ${volume} of which this point was begun is there no more`)
  }

  async image(): Promise<ImageContent> {
    assert(this.#open)
    const { place } = this.#source
    const { about } = this.#spec
    const properties = { kind: 'volume', place, sizeBytes: this.#open.sizeBytes, about }
    return imageOf(properties)
  }

  async drop(): Promise<void> {
    this.close()
    const { own } = this.#tools.points
    const { pointId: id } = this.#spec
    // What is not claimed was never made, or is gone.
    if (!own.has(id, 'job')) return
    await this.#volumes.dropCapture({ volume: this.#source.place.volume, id })
    own.forget(id)
  }

  async keep(): Promise<void> {
    const { pool, volume } = this.#source.place
    const { pointId: id, target, series } = this.#spec
    this.close()
    if (!this.#volumes.keepsCaptures || !(await this.#isKept())) return this.drop()
    const source = sourceOf(this.#source.place)
    keepBase(this.#tools, { pool, source, volume, series: `${target.id ?? 'own'}/${series}`, pointId: id })
    // Deleted meanwhile: whoever did that dropped what was kept before.
    if ((await this.#volumes.find(volume)) === undefined) await dropBaseOf(this.#tools, id)
    dropSuperseded(this.#tools)
  }

  /** What the next increment is compared with. */
  async #isKept(): Promise<boolean> {
    const name = { volume: this.#source.place.volume, id: this.#spec.pointId }
    const { bases } = this.#volumes
    return bases === undefined ? (await this.#volumes.findCapture(name)) !== undefined : bases.keep(name)
  }

  close(): void {
    if (this.#open !== undefined) closeSync(this.#open.fd)
    this.#open = undefined
  }

  get #volumes(): Volumes {
    return this.#tools.volumes(this.#source.place.pool)
  }

  /** By what is kept of the capture that the point below was made of. */
  async #changed(chunkBytes: number, below: ImageBelow, signal: AbortSignal): Promise<Uint32Array | undefined> {
    assert(this.#open)
    const base = this.#spec.bases.at(-1)
    if (base === undefined || !this.#tools.points.own.has(base.id, 'base')) return undefined
    const { volume } = this.#source.place
    const { bases } = this.#volumes
    if (bases !== undefined) return this.#told(bases, { baseId: base.id, chunkBytes, below }, signal)
    const capture = await this.#volumes.findCapture({ volume, id: base.id })
    if (capture === undefined) return undefined
    const baseFd = openSync(capture.device, 'r')
    try {
      return await changedChunks({ baseFd, fd: this.#open.fd, chunkBytes })
    } finally {
      closeSync(baseFd)
    }
  }

  async #told(
    bases: CaptureBases,
    asked: { readonly baseId: string; readonly chunkBytes: number; readonly below: ImageBelow },
    signal: AbortSignal,
  ): Promise<Uint32Array | undefined> {
    assert(this.#open)
    const { volume } = this.#source.place
    const { pointId: id } = this.#spec
    const { baseId, chunkBytes, below } = asked
    const marks = ChunkMarks.of({ sizeBytes: this.#open.sizeBytes, chunkBytes })
    if (marks === undefined) return undefined
    const reason = await bases.changes({ volume, baseId, id }, (range) => marks.mark(range), signal)
    if (reason === undefined) return marks.changed(below)
    this.#tools.logger.info({ event: 'point.compared_whole', jobId: this.#jobId, pointId: id, reason })
    return undefined
  }
}
