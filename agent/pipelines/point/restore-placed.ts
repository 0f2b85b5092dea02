import assert from 'node:assert/strict'
import type { RestoreSnapshotSpec, SpecOf } from '../../../shared/job-spec.ts'
import type { PointRestored } from '../../../shared/point-spec.ts'
import { requireFit } from '../../points/bounds.ts'
import { askedPath } from '../../points/point-listing.ts'
import type { PipelineTools, StepContext, UndoContext } from '../pipeline.ts'
import { openDestination } from '../restore/destination.ts'
import { Placement } from '../restore/placement.ts'
import { INTO_DATASET, ONTO_HOST, type OpenPoint, openPoint } from './extraction.ts'
import { removeGathered, stageMembers } from './stage-members.ts'

type Spec = SpecOf<'point.restore'>
type Place = RestoreSnapshotSpec['destination'] & { readonly jobId: string }

/** Into a dataset or a directory of the host: staged beside the destination, and there at once. */
export class PlacedRestore {
  readonly #spec: Spec
  readonly #place: Place
  readonly #tools: PipelineTools
  #point: OpenPoint | undefined
  #placement: Placement | undefined

  constructor(spec: Spec, place: Place, tools: PipelineTools) {
    this.#spec = spec
    this.#place = place
    this.#tools = tools
  }

  get isCommitted(): boolean {
    return this.#placement?.isCommitted === true
  }

  async look(context: StepContext): Promise<void> {
    await this.close()
    const { overwrite } = this.#spec
    this.#placement = new Placement(await openDestination(this.#place, this.#tools), this.#place.jobId, overwrite)
    if (this.#placement.look(context.memory)) return
    this.#point = await openPoint(this.#spec, this.#tools.points, context)
    const fd = this.#placement.parentFd
    await requireFit(this.#point.chain, { paths: this.#paths, fd }, context.signal)
  }

  async stage(context: StepContext): Promise<void> {
    assert(this.#placement)
    const point = this.#point
    await this.#placement.stage(context.memory, (place) => {
      assert(point)
      const policy = this.#place.kind === 'host' ? ONTO_HOST : INTO_DATASET
      return stageMembers(point, { ...place, jobId: this.#place.jobId, paths: this.#paths, policy }, context)
    })
  }

  async unstage({ memory }: UndoContext): Promise<void> {
    if (this.#placement === undefined || this.isCommitted) return
    await this.#placement.unstage(memory)
    await removeGathered(this.#placement.parentFd, this.#place.jobId)
  }

  async commit(): Promise<void> {
    assert(this.#placement)
    this.#placement.commit()
  }

  async settle(): Promise<void> {
    assert(this.#placement)
    await this.#placement.settle()
  }

  result(): PointRestored {
    assert(this.#placement)
    const { files, bytes } = this.#placement.receipt
    return { files, bytes }
  }

  async close(): Promise<void> {
    this.#placement?.close()
    this.#placement = undefined
    await this.#point?.[Symbol.asyncDispose]()
    this.#point = undefined
  }

  get #paths(): readonly string[] {
    const { paths } = this.#spec
    return paths.length === 0 ? [''] : paths.map((path) => askedPath(path))
  }
}
