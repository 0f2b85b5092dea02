import assert from 'node:assert/strict'
import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { PointRehearsed } from '../../../shared/point-spec.ts'
import { close } from '../../native/paths.ts'
import { requireFit } from '../../points/bounds.ts'
import { compareTree } from '../../points/compare-tree.ts'
import type { Pipeline, PipelineTools, StepContext } from '../pipeline.ts'
import { extractParts, INTO_DATASET, type OpenPoint, openPoint } from './extraction.ts'
import { openRoot } from './restore-new.ts'
import { named } from './steps.ts'

const unwatched = { signal: new AbortController().signal, progress: () => undefined }

/**
 * A restore for practice: into a dataset that is named by the job and that nobody sees, compared with what the index says, and
 * gone again whatever comes of it.
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

class Rehearsal {
  readonly #spec: SpecOf<'point.rehearse'>
  readonly #jobId: string
  readonly #tools: PipelineTools
  #point: OpenPoint | undefined
  #rootFd: number | undefined
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
    if (this.#driver.name === 'sim') throw new FleetError('refused', 'simulated pools hold no files')
    await this.close()
    this.#point = await openPoint(this.#spec, this.#tools.points, context)
  }

  async extract(context: StepContext): Promise<void> {
    if (this.#isOver) return
    assert(this.#point)
    const { pool } = this.#spec
    this.#closeRoot()
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
    const found = await compareTree(this.#point.chain, this.#rootFd, { signal, progress })
    if (found.count === 0) return
    const message = `${found.count} of the restored files are not what the index says`
    throw new FleetError('corrupt', message, { members: found.paths })
  }

  async finish({ memory }: StepContext): Promise<void> {
    await this.clear()
    if (!this.#isOver) await memory.stage(JSON.stringify(this.#done))
  }

  async clear(): Promise<void> {
    this.#closeRoot()
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
    await this.#point?.[Symbol.asyncDispose]()
    this.#point = undefined
  }

  get #driver() {
    return this.#tools.driver(this.#spec.pool)
  }

  #closeRoot(): void {
    if (this.#rootFd !== undefined) close(this.#rootFd)
    this.#rootFd = undefined
  }
}
