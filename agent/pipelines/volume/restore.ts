import assert from 'node:assert/strict'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { VolumeRestored } from '../../../shared/volume-spec.ts'
import type { StagedVolume, Volume, Volumes } from '../../volumes/volumes.ts'
import type { Pipeline, PipelineTools, StepContext, UndoContext } from '../pipeline.ts'
import { type OpenPoint, openPoint } from '../point/extraction.ts'
import { fillVolume } from '../point/fill-volume.ts'
import { named } from '../point/steps.ts'
import { refuseDisk } from './domain-disks.ts'
import { openAgain, refuseSessions } from './exported.ts'
import { isIt, receiptIn } from './receipt.ts'
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
    this.#receipt = receiptIn(Receipt, context.memory)
    const standing = await this.#volumes.find(place.volume)
    this.isCommitted = isIt(standing, this.#receipt)
    this.#now = standing
    if (this.isCommitted) return
    if (mode === 'new' && standing !== undefined)
      throw new FleetError('exists', `volume ${place.volume} is there already`)
    if (mode === 'over') {
      if (standing === undefined) throw new FleetError('not_found', `there is no volume ${place.volume}`)
      await refuseDisk(this.#tools, place, { by: 'those that are not stopped', signal: context.signal })
      await refuseSessions(this.#tools, place, context.signal)
    }
    await this.#point?.[Symbol.asyncDispose]()
    this.#point = await openPoint(this.#spec, this.#tools.points, context)
  }

  async stage(context: StepContext): Promise<void> {
    if (this.isCommitted || this.#staged !== undefined) return
    assert(this.#point)
    const { place, createParent, sizeBytes } = this.#spec
    const wish = { volume: place.volume, createParent, sizeBytes }
    const { staged, bytes } = await fillVolume(this.#point, this.#volumes, wish, context)
    this.#staged = staged
    const receipt = { guid: staged.guid, bytes }
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
    if (mode === 'over') await refuseDisk(this.#tools, place, { by: 'those that are not stopped', signal })
    this.#now =
      mode === 'new'
        ? await staged.put('new', context)
        : await this.#tools.exports.replace({ pool, volume }, () => staged.put('over', context), signal)
    this.isCommitted = true
  }

  async undo({ memory }: UndoContext): Promise<void> {
    await this.close()
    const receipt = receiptIn(Receipt, memory)
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
}
