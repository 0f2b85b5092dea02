import assert from 'node:assert/strict'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { DatasetPlace, SpecOf } from '../../../shared/job-spec.ts'
import { PointRestored } from '../../../shared/point-spec.ts'
import { update } from '../../archive/update.ts'
import { syncFileSystem } from '../../native/file-system.ts'
import { close } from '../../native/paths.ts'
import { readNote } from '../../native/xattrs.ts'
import { declaredBounds, withinBounds } from '../../points/bounds.ts'
import { Rated } from '../../points/rate.ts'
import { STARTED_NOTE } from '../instance/making.ts'
import type { PipelineTools, StepContext, UndoContext } from '../pipeline.ts'
import { requireFiles } from '../require-files.ts'
import { INTO_DATASET, type OpenPoint, openPoint } from './extraction.ts'
import { openRoot } from './restore-new.ts'

type Spec = SpecOf<'point.restore'>
const Receipt = PointRestored.extend({ made: z.object({ rootInode: z.number(), mountpoint: z.string() }) })

/**
 * A dataset that holds the tree of an earlier point of the chain, brought to the last one in place: nobody uses it yet. What fails
 * leaves it in between, and the next order for it goes on from there.
 */
export class UpdatedDatasetRestore {
  readonly #spec: Spec
  readonly #place: DatasetPlace
  readonly #from: string
  readonly #tools: PipelineTools
  #point: OpenPoint | undefined
  #receipt: z.infer<typeof Receipt> | undefined

  constructor(spec: Spec, of: { readonly place: DatasetPlace; readonly from: string }, tools: PipelineTools) {
    this.#spec = spec
    this.#place = of.place
    this.#from = of.from
    this.#tools = tools
  }

  async look(context: StepContext): Promise<void> {
    const noted = context.memory.staged()
    this.#receipt = noted === undefined || noted === '' ? undefined : Receipt.parse(JSON.parse(noted))
    if (this.#receipt !== undefined) return
    if (this.#layer < 0) throw new FleetError('invalid', 'the dataset holds a point of another chain')
    const fd = openRoot((await this.#dataset()).mountpoint)
    try {
      if (readNote(fd, STARTED_NOTE) !== undefined)
        throw new FleetError('conflict', 'an instance was started on this dataset: it holds no point any more')
    } finally {
      close(fd)
    }
    await this.#point?.[Symbol.asyncDispose]()
    this.#point = await openPoint(this.#spec, this.#tools.points, context)
  }

  async stage(context: StepContext): Promise<void> {
    if (this.#receipt !== undefined) return
    const made = await this.#dataset()
    const rootFd = openRoot(made.mountpoint)
    try {
      const { files, bytes } = await this.#update(rootFd, context)
      await syncFileSystem(rootFd)
      const receipt = { files, bytes, made }
      await context.memory.stage(JSON.stringify(receipt))
      this.#receipt = receipt
    } finally {
      close(rootFd)
    }
  }

  /** The dataset is not ours to remove. */
  async unstage({ memory }: UndoContext): Promise<void> {
    if (this.#receipt === undefined) return
    await memory.stage('')
    this.#receipt = undefined
  }

  async settle(): Promise<void> {}

  result(): PointRestored {
    assert(this.#receipt)
    return this.#receipt
  }

  get point(): OpenPoint | undefined {
    return this.#point
  }

  async close(): Promise<void> {
    await this.#point?.[Symbol.asyncDispose]()
    this.#point = undefined
  }

  async #update(rootFd: number, { signal, progress }: StepContext) {
    assert(this.#point)
    const { chain } = this.#point
    const { scratch, turn } = this.#tools.points
    const giveBack = await turn(signal)
    try {
      using rated = new Rated(progress, {})
      const asked = { subject: 'restore', chain, from: this.#layer, rootFd, policy: INTO_DATASET, scratch }
      return await withinBounds(declaredBounds(chain), { signal, progress: rated.progress }, (watch) =>
        update(asked, watch),
      )
    } finally {
      giveBack()
    }
  }

  get #layer(): number {
    return this.#spec.chain.findIndex(({ id }) => id === this.#from)
  }

  async #dataset() {
    const { pool, dataset } = this.#place
    const driver = this.#tools.driver(pool)
    requireFiles(driver)
    const found = await driver.find(dataset)
    if (found === undefined) throw new FleetError('not_found', `dataset ${dataset} is not on this host`)
    return { rootInode: found.rootInode, mountpoint: found.mountpoint }
  }
}
