import assert from 'node:assert/strict'
import { closeSync, fstatSync, openSync } from 'node:fs'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { VolumeRestored } from '../../../shared/volume-spec.ts'
import { readShape } from '../../archive/image/read-shape.ts'
import { restoreImage } from '../../archive/image/restore-image.ts'
import { requireFit } from '../../points/bounds.ts'
import { Rated } from '../../points/rate.ts'
import type { StagedVolume, Volume, Volumes } from '../../volumes/volumes.ts'
import type { Pipeline, PipelineTools, StepContext, UndoContext } from '../pipeline.ts'
import { type OpenPoint, openPoint } from '../point/extraction.ts'
import { named } from '../point/steps.ts'
import { openAgain, refuseSessions } from './exported.ts'
import { unwatched } from './unwatched.ts'

const SUBJECT = 'restore'

/**
 * A point's image is written to a volume that nobody sees; that has its name, or the place of the one that has it, in one step. Its guid is
 * noted before that: by it, a repeat knows its own work. A repeat of less than that begins anew.
 */
export const restoreVolume: Pipeline<'volume.restore'> = (spec, _jobId, tools) => {
  const restore = new Restore(spec, tools)
  return {
    steps: [
      // All is undone here, as an earlier run may have come further than this one.
      { ...named('look', (context) => restore.look(context), SUBJECT), undo: (context) => restore.undo(context) },
      named('stage', (context) => restore.stage(context), SUBJECT),
      { ...named('put', (context) => restore.put(context), SUBJECT), commits: true },
    ],
    committed: () => restore.isCommitted,
    result: () => restore.result(),
    close: () => restore.close(),
  }
}

const Receipt = z.object({ guid: z.string(), bytes: z.number() })
type Receipt = z.infer<typeof Receipt>

/** looked → staged → put, or looked → put when an earlier run came so far. */
class Restore {
  readonly #spec: SpecOf<'volume.restore'>
  readonly #tools: PipelineTools
  readonly #volumes: Volumes
  #point: OpenPoint | undefined
  #staged: StagedVolume | undefined
  #receipt: Receipt | undefined
  #now: Volume | undefined
  isCommitted = false

  constructor(spec: SpecOf<'volume.restore'>, tools: PipelineTools) {
    this.#spec = spec
    this.#tools = tools
    this.#volumes = tools.volumes(spec.place.pool)
  }

  async look(context: StepContext): Promise<void> {
    const { place, mode } = this.#spec
    this.#receipt = receiptIn(context.memory)
    const standing = await this.#volumes.find(place.volume)
    this.isCommitted = isIt(standing, this.#receipt)
    this.#now = standing
    if (this.isCommitted) return
    if (mode === 'new' && standing !== undefined)
      throw new FleetError('exists', `volume ${place.volume} is there already`)
    if (mode === 'over') {
      if (standing === undefined) throw new FleetError('not_found', `there is no volume ${place.volume}`)
      await refuseSessions(this.#tools, place, context.signal)
    }
    await this.#point?.[Symbol.asyncDispose]()
    this.#point = await openPoint(this.#spec, this.#tools.points, context)
  }

  async stage(context: StepContext): Promise<void> {
    if (this.isCommitted || this.#staged !== undefined) return
    assert(this.#point)
    const { place, createParent, sizeBytes = 0 } = this.#spec
    const shape = await readShape(this.#point.chain, context.signal)
    const content = { sizeBytes: Math.max(shape.sizeBytes, sizeBytes) }
    this.#staged = await this.#volumes.stage({ volume: place.volume, content, createParent }, context)
    const bytes = await this.#fill(this.#point, this.#staged, context)
    const receipt = { guid: this.#staged.guid, bytes }
    await context.memory.stage(JSON.stringify(receipt))
    this.#receipt = receipt
  }

  async put(context: StepContext): Promise<void> {
    const { place, mode } = this.#spec
    const { signal, jobId } = context
    if (this.isCommitted) {
      assert(this.#now)
      return openAgain(this.#tools, { place, now: this.#now, jobId }, signal)
    }
    const staged = this.#staged
    assert(staged)
    const { pool, volume } = place
    this.#now =
      mode === 'new'
        ? await staged.put('new', context)
        : await this.#tools.exports.replace({ pool, volume }, () => staged.put('over', context), signal)
    this.isCommitted = true
  }

  async undo({ memory }: UndoContext): Promise<void> {
    await this.close()
    const receipt = receiptIn(memory)
    if (receipt === undefined) return
    const { place, mode } = this.#spec
    const isThere = isIt(await this.#volumes.find(place.volume), receipt)
    // It has its name, and what failed came after that: what it took the place of is gone.
    if (isThere && mode === 'over') return
    if (isThere) await this.#volumes.destroy(place.volume, unwatched())
    await memory.stage('')
  }

  result(): VolumeRestored {
    assert(this.#now && this.#receipt)
    const { sizeBytes, device, guid } = this.#now
    return { volume: { sizeBytes, device, guid, cow: false }, bytes: this.#receipt.bytes }
  }

  async close(): Promise<void> {
    await this.#staged?.[Symbol.asyncDispose]()
    this.#staged = undefined
    await this.#point?.[Symbol.asyncDispose]()
    this.#point = undefined
  }

  /** @returns how much was read */
  async #fill({ chain }: OpenPoint, { device, sizeBytes }: StagedVolume, context: StepContext): Promise<number> {
    const { signal, progress } = context
    const { scratch, turn } = this.#tools.points
    const fd = openSync(device, 'r+')
    try {
      // What is free below a block device its own file system tells when it is written to.
      if (fstatSync(fd).isFile()) await requireFit(chain, { paths: [''], fd }, signal)
      const over = await turn(signal)
      try {
        using rated = new Rated(progress)
        const request = { subject: SUBJECT, chain, fd, sizeBytes, scratch }
        return (await restoreImage(request, { signal, progress: rated.progress })).bytes
      } finally {
        over()
      }
    } finally {
      closeSync(fd)
    }
  }
}

function receiptIn(memory: StepContext['memory']): Receipt | undefined {
  const noted = memory.staged()
  return noted === undefined || noted === '' ? undefined : Receipt.parse(JSON.parse(noted))
}

function isIt(volume: Volume | undefined, receipt: Receipt | undefined): boolean {
  return volume !== undefined && volume.guid === receipt?.guid
}
