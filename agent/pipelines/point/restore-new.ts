import assert from 'node:assert/strict'
import { constants } from 'node:fs'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { DatasetPlace, SpecOf } from '../../../shared/job-spec.ts'
import { PointRestored } from '../../../shared/point-spec.ts'
import { close, openDirectory, reopen } from '../../native/paths.ts'
import { requireFit } from '../../points/bounds.ts'
import type { PipelineTools, StepContext, UndoContext } from '../pipeline.ts'
import { requireFiles } from '../require-files.ts'
import { extractParts, INTO_DATASET, type OpenPoint, openPoint } from './extraction.ts'

type Spec = SpecOf<'point.restore'>
const Receipt = PointRestored.extend({ made: z.object({ rootInode: z.number(), mountpoint: z.string() }) })
const unwatched = { signal: new AbortController().signal, progress: () => undefined }

/** A dataset that nobody knows of before the order has ended well: it need not be staged. */
export class NewDatasetRestore {
  readonly #spec: Spec
  readonly #place: DatasetPlace
  readonly #tools: PipelineTools
  #point: OpenPoint | undefined
  #receipt: z.infer<typeof Receipt> | undefined
  isCommitted = false

  constructor(spec: Spec, place: DatasetPlace, tools: PipelineTools) {
    this.#spec = spec
    this.#place = place
    this.#tools = tools
  }

  async look(context: StepContext): Promise<void> {
    const noted = context.memory.staged()
    this.#receipt = noted === undefined || noted === '' ? undefined : Receipt.parse(JSON.parse(noted))
    if (this.#receipt !== undefined) return
    const { driver, dataset } = this.#parts()
    requireFiles(driver)
    if (!this.#isOurs() && (await driver.find(dataset)) !== undefined)
      throw new FleetError('exists', `dataset ${dataset} is on this host already`)
    await this.#point?.[Symbol.asyncDispose]()
    this.#point = await openPoint(this.#spec, this.#tools.points, context)
  }

  async stage(context: StepContext): Promise<void> {
    if (this.#receipt !== undefined) return
    assert(this.#point)
    const { driver, dataset, own, pool } = this.#parts()
    own.claim({ pool, dataset, use: { kind: 'job', jobId: context.jobId } })
    await driver.destroy(dataset, unwatched) // half of it, by a run that was killed
    const { mountpoint, rootInode } = await driver.create(dataset, context)
    const rootFd = openRoot(mountpoint)
    try {
      await requireFit(this.#point.chain, { paths: [''], fd: rootFd }, context.signal)
      const request = { parts: [{ path: '', rootFd }], policy: INTO_DATASET }
      const { files, bytes } = await extractParts(this.#point, request, context)
      const receipt = { files, bytes, made: { rootInode, mountpoint } }
      await context.memory.stage(JSON.stringify(receipt))
      this.#receipt = receipt
    } finally {
      close(rootFd)
    }
  }

  async unstage({ memory }: UndoContext): Promise<void> {
    if (this.isCommitted) return
    if (this.#receipt === undefined && !this.#isOurs()) return
    if (this.#receipt !== undefined) await memory.stage('')
    this.#receipt = undefined
    const { driver, dataset, own } = this.#parts()
    await driver.destroy(dataset, unwatched)
    own.forget(dataset)
  }

  async commit(): Promise<void> {
    this.isCommitted = true
  }

  async settle(): Promise<void> {
    this.#tools.points.own.forget(this.#place.dataset)
  }

  result(): PointRestored {
    assert(this.#receipt)
    return this.#receipt
  }

  /** Open from `look` on, unless an earlier run had restored it. */
  get point(): OpenPoint | undefined {
    return this.#point
  }

  async close(): Promise<void> {
    await this.#point?.[Symbol.asyncDispose]()
    this.#point = undefined
  }

  /** Made, or about to be made, by this order and told to nobody yet. */
  #isOurs(): boolean {
    return this.#tools.points.own.has(this.#place.dataset, 'job')
  }

  #parts() {
    const { pool, dataset } = this.#place
    return { pool, dataset, driver: this.#tools.driver(pool), own: this.#tools.points.own }
  }
}

export function openRoot(mountpoint: string): number {
  const pathFd = openDirectory(mountpoint)
  try {
    return reopen(pathFd, constants.O_RDONLY | constants.O_DIRECTORY)
  } finally {
    close(pathFd)
  }
}
