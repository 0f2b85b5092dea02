import assert from 'node:assert/strict'
import { openSync } from 'node:fs'
import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { PointRehearsed } from '../../../shared/point-spec.ts'
import { compareImage } from '../../archive/image/compare-image.ts'
import { isImage } from '../../archive/image/read-shape.ts'
import { close } from '../../native/paths.ts'
import { requireFit } from '../../points/bounds.ts'
import { compareTree } from '../../points/compare-tree.ts'
import type { StagedVolume } from '../../volumes/volumes.ts'
import type { Pipeline, PipelineTools, StepContext } from '../pipeline.ts'
import { requireFiles } from '../require-files.ts'
import { extractParts, INTO_DATASET, type OpenPoint, openPoint } from './extraction.ts'
import { fillVolume } from './fill-volume.ts'
import { openRoot } from './restore-new.ts'
import { named } from './steps.ts'

const unwatched = { signal: new AbortController().signal, progress: () => undefined }

/**
 * A restore for practice: into a dataset that is named by the job and that nobody sees (a volume's point into a volume that is never put
 * anywhere), compared with what the index says, and gone again whatever comes of it.
 */
export const rehearsePoint: Pipeline<'point.rehearse'> = (spec, jobId, tools) => {
  const rehearsal = new Rehearsal(spec, jobId, tools)
  return {
    steps: [
      { ...named('look', (context) => rehearsal.look(context), 'rehearsal'), undo: () => rehearsal.clear() },
      named('extract', (context) => rehearsal.extract(context), 'rehearsal'),
      named('compare', (context) => rehearsal.compare(context), 'rehearsal'),
      named('clear', (context) => rehearsal.finish(context), 'rehearsal'),
    ],
    result: () => rehearsal.result(),
    close: () => rehearsal.close(),
  }
}

/** It never has this name. */
const VOLUME = 'rehearsal'

class Rehearsal {
  readonly #spec: SpecOf<'point.rehearse'>
  readonly #jobId: string
  readonly #tools: PipelineTools
  #point: OpenPoint | undefined
  /** Of the dataset's root, or of the volume. */
  #rootFd: number | undefined
  #volume: StagedVolume | undefined
  #done: PointRehearsed | undefined
  #isOver = false

  constructor(spec: SpecOf<'point.rehearse'>, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#jobId = jobId
    this.#tools = tools
  }

  async look(context: StepContext): Promise<void> {
    const noted = context.memory.staged()
    this.#isOver = noted !== undefined
    if (noted !== undefined) this.#done = PointRehearsed.parse(JSON.parse(noted))
    if (this.#isOver) return
    requireFiles(this.#driver)
    await this.close()
    this.#point = await openPoint(this.#spec, this.#tools.points, context)
  }

  async extract(context: StepContext): Promise<void> {
    if (this.#isOver) return
    assert(this.#point)
    const { pool } = this.#spec
    await this.#dropVolume()
    this.#closeRoot()
    if (isImage(this.#point.chain)) return this.#fillVolume(this.#point, context)
    this.#tools.points.own.claim({ pool, dataset: this.#jobId, use: { kind: 'job', jobId: this.#jobId } })
    await this.#driver.destroy(this.#jobId, unwatched) // of a run that was killed
    const { mountpoint } = await this.#driver.create(this.#jobId, context)
    this.#rootFd = openRoot(mountpoint)
    await requireFit(this.#point.chain, { paths: [''], fd: this.#rootFd }, context.signal)
    const parts = [{ path: '', rootFd: this.#rootFd }]
    this.#done = await extractParts(this.#point, { parts, policy: INTO_DATASET }, context)
  }

  async compare({ signal, progress }: StepContext): Promise<void> {
    if (this.#isOver) return
    assert(this.#point && this.#rootFd !== undefined)
    const { chain } = this.#point
    const watch = { signal, progress }
    const found = isImage(chain)
      ? await compareImage({ subject: 'rehearsal', chain, fd: this.#rootFd }, watch)
      : await compareTree(chain, this.#rootFd, watch)
    if (found.count === 0) return
    const what = isImage(chain) ? 'pieces of the restored volume' : 'of the restored files'
    const message = `${found.count} ${what} are not what the index says`
    throw new FleetError('corrupt', message, { members: found.paths })
  }

  async finish({ memory }: StepContext): Promise<void> {
    await this.clear()
    if (!this.#isOver) await memory.stage(JSON.stringify(this.#done))
  }

  async clear(): Promise<void> {
    this.#closeRoot()
    await this.#dropVolume()
    if (!this.#tools.points.own.has(this.#jobId, 'job')) return
    await this.#driver.destroy(this.#jobId, unwatched)
    this.#tools.points.own.forget(this.#jobId)
  }

  result(): PointRehearsed {
    assert(this.#done)
    return this.#done
  }

  async close(): Promise<void> {
    this.#closeRoot()
    await this.#dropVolume()
    await this.#point?.[Symbol.asyncDispose]()
    this.#point = undefined
  }

  get #driver() {
    return this.#tools.driver(this.#spec.pool)
  }

  async #fillVolume(point: OpenPoint, context: StepContext): Promise<void> {
    const wish = { volume: VOLUME, createParent: true }
    const filled = await fillVolume(point, this.#tools.volumes(this.#spec.pool), wish, context)
    this.#volume = filled.staged
    this.#rootFd = openSync(filled.staged.device, 'r')
    this.#done = { files: filled.files, bytes: filled.bytes, seconds: filled.seconds }
  }

  async #dropVolume(): Promise<void> {
    await this.#volume?.[Symbol.asyncDispose]()
    this.#volume = undefined
  }

  #closeRoot(): void {
    if (this.#rootFd !== undefined) close(this.#rootFd)
    this.#rootFd = undefined
  }
}
