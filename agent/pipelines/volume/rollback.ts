import assert from 'node:assert/strict'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { type VolumeRolledBack, VolumeSnapshotMade } from '../../../shared/volume-spec.ts'
import type { StagedVolume, Volume, Volumes } from '../../volumes/volumes.ts'
import type { Pipeline, PipelineTools, StepContext, UndoContext } from '../pipeline.ts'
import { named } from '../point/steps.ts'
import { refuseDisk } from './domain-disks.ts'
import { openAgain, refuseExported, refuseSessions } from './exported.ts'
import { isIt, receiptIn } from './receipt.ts'
import { unwatched } from './unwatched.ts'

const SUBJECT = 'rollback'

/**
 * A clone of the snapshot is made beside the volume; then, while nobody is let in to it, what the volume is by now becomes the safety
 * snapshot, and the clone has its name. The volume's guid tells which of the two it is, whatever ends this process in between.
 */
export const rollbackVolume: Pipeline<'volume.rollback'> = (spec, _jobId, tools) => {
  const rollback = new Rollback(spec, tools)
  return {
    steps: [
      // All is undone here, as an earlier run may have come further than this one.
      { ...named('look', (context) => rollback.look(context), SUBJECT), undo: (context) => rollback.undo(context) },
      named('stage', (context) => rollback.stage(context), SUBJECT),
      { ...named('swap', (context) => rollback.swap(context), SUBJECT), commits: true },
    ],
    committed: () => rollback.isCommitted,
    result: () => rollback.result(),
    close: () => rollback.close(),
  }
}

/** Noted once the name of the safety snapshot was found free: from then on it is this order's to take. */
const Receipt = z.object({
  sinceMs: z.number(),
  /** Of the clone, once it was staged. */
  guid: z.string().optional(),
  /** Once it was taken. */
  safety: VolumeSnapshotMade.optional(),
})
type Receipt = z.infer<typeof Receipt>

/** looked → staged → swapped, or looked → swapped when an earlier run came so far. */
class Rollback {
  readonly #spec: SpecOf<'volume.rollback'>
  readonly #tools: PipelineTools
  readonly #volumes: Volumes
  #receipt: Receipt | undefined
  #staged: StagedVolume | undefined
  #now: Volume | undefined
  isCommitted = false

  constructor(spec: SpecOf<'volume.rollback'>, tools: PipelineTools) {
    this.#spec = spec
    this.#tools = tools
    this.#volumes = tools.volumes(spec.place.pool)
  }

  async look({ memory, signal }: StepContext): Promise<void> {
    const { place, safety } = this.#spec
    const { volume, snapshot } = place
    this.#receipt = receiptIn(Receipt, memory)
    const standing = await this.#volumes.find(volume)
    this.isCommitted = isIt(standing, this.#receipt)
    this.#now = standing
    if (this.isCommitted) return
    if (standing === undefined) throw new FleetError('not_found', `there is no volume ${volume}`)
    if ((await this.#volumes.findSnapshot(volume, snapshot)) === undefined)
      throw new FleetError('not_found', `there is no snapshot ${volume}@${snapshot}`)
    await refuseDisk(this.#tools, place, { by: 'those that are not stopped', signal })
    if (this.#volumes.cow) await refuseSessions(this.#tools, place, signal)
    else refuseExported(this.#tools, place, 'is exported, and a copy of what is written meanwhile is no snapshot')
    // Of an earlier run, which is over: the volume may have been written to since then.
    if (this.#receipt !== undefined) await this.#dropSafety(this.#receipt)
    if ((await this.#volumes.findSnapshot(volume, safety)) !== undefined) throw this.#isTaken()
    await this.#note({ sinceMs: Date.now() }, { memory })
  }

  async stage(context: StepContext): Promise<void> {
    if (this.isCommitted || this.#staged !== undefined) return
    const { volume, snapshot } = this.#spec.place
    this.#staged = await this.#volumes.stage({ volume, content: { snapshot }, createParent: false }, context)
    await this.#note({ ...this.#free, guid: this.#staged.guid }, context)
    if (!this.#volumes.cow) await this.#takeSafety(context) // a copy takes its time, and exports would wait for it
  }

  async swap(context: StepContext): Promise<void> {
    const { place } = this.#spec
    const { signal, jobId } = context
    if (this.isCommitted) {
      assert(this.#now)
      return openAgain(this.#tools, { place, now: this.#now, jobId }, signal)
    }
    const staged = this.#staged
    assert(staged)
    const { pool, volume } = place
    // One may have been started since: what it holds open would be nobody's volume any more.
    await refuseDisk(this.#tools, place, { by: 'those that are not stopped', signal })
    const act = async () => {
      await this.#takeSafety(context)
      return staged.put('over', context)
    }
    this.#now = await this.#tools.exports.replace({ pool, volume }, act, signal)
    this.isCommitted = true
  }

  async undo({ memory }: UndoContext): Promise<void> {
    await this.close()
    const receipt = receiptIn(Receipt, memory)
    if (receipt === undefined) return
    // It has its name, and what failed came after that.
    if (isIt(await this.#volumes.find(this.#spec.place.volume), receipt)) return
    await this.#dropSafety(receipt)
    await memory.stage('')
  }

  result(): VolumeRolledBack {
    const safety = this.#receipt?.safety
    assert(this.#now && safety)
    const { sizeBytes, device, guid } = this.#now
    return { volume: { sizeBytes, device, guid, cow: this.#volumes.cow }, safety }
  }

  async close(): Promise<void> {
    await this.#staged?.[Symbol.asyncDispose]()
    this.#staged = undefined
  }

  /** Noted before the swap, so that a repeat can tell of it. */
  async #takeSafety(context: StepContext): Promise<void> {
    const { place, safety: snapshot } = this.#spec
    if (this.#receipt?.safety !== undefined) return
    if ((await this.#volumes.findSnapshot(place.volume, snapshot)) !== undefined) throw this.#isTaken()
    const { guid, sizeBytes } = await this.#volumes.snapshot({ volume: place.volume, snapshot }, context)
    await this.#note({ ...this.#free, safety: { guid, sizeBytes } }, context)
  }

  /** As of the first look. */
  get #free(): Receipt {
    assert(this.#receipt)
    return this.#receipt
  }

  /** That which is this order's: by its guid, or, where a run died before it could note that, as it came since the name was free. */
  async #dropSafety({ safety, sinceMs }: Receipt): Promise<void> {
    const { place, safety: snapshot } = this.#spec
    const found = await this.#volumes.findSnapshot(place.volume, snapshot)
    if (found === undefined) return
    const isOurs = safety === undefined ? found.createdAtMs >= wholeSeconds(sinceMs) : found.guid === safety.guid
    if (isOurs) await this.#volumes.destroySnapshot(place.volume, snapshot, unwatched())
  }

  #isTaken(): FleetError {
    const { place, safety } = this.#spec
    return new FleetError('exists', `snapshot ${place.volume}@${safety} is there already`)
  }

  async #note(receipt: Receipt, { memory }: Pick<StepContext, 'memory'>): Promise<void> {
    await memory.stage(JSON.stringify(receipt))
    this.#receipt = receipt
  }
}

/** ZFS tells when a snapshot was taken in these. */
function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1_000) * 1_000
}
