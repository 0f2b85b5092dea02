import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { requireUnused } from '../../points/dependants.ts'
import type { TargetLease } from '../../points/point-tools.ts'
import { discardUnfinished, hide, type OwnPlace, ownerOf, sweepSeries } from '../../points/series.ts'
import { removeImageOfNone } from '../../points/series-image.ts'
import { readMetadata, updateMetadata } from '../../points/series-metadata.ts'
import { isOurs, removeEmptyTrash, trashedPlaceOf } from '../../points/trash.ts'
import type { JobMemory, Pipeline, PipelineTools, StepContext } from '../pipeline.ts'
import { dropBaseOf } from './base-snapshots.ts'
import { named, tolerating } from './steps.ts'

/** Once it is begun nothing stops it: its calls are bounded by themselves, and half of it would be told as nothing. */
const unstopped = new AbortController().signal
const CLEAR_MS = 600_000

/** In the journal: from here on the point may be gone. */
const BEGUN = 'begun'

/**
 * Absence is success: the order may be a repeat. The point is gone as of one rename; nothing beside it is touched. What cannot be
 * cleared away behind that is taken by the next order of the series. A repeat goes on with what was begun, whoever cancels it: a point
 * that is gone would be told as one that stayed.
 */
export const deletePoint: Pipeline<'point.delete'> = (spec, jobId, tools) => {
  const deletion = new Deletion(spec, jobId, tools)
  return {
    steps: [
      { ...named('look', async ({ memory }) => deletion.look(memory)), undo: async () => undefined },
      { ...named('hide', (context) => deletion.hide(context)), commits: true },
      named('remove', () => deletion.clear()),
    ],
    committed: () => deletion.isBegun,
    result: () => ({}),
    close: () => deletion.close(),
  }
}

class Deletion {
  readonly #spec: SpecOf<'point.delete'>
  readonly #jobId: string
  readonly #tools: PipelineTools
  #lease: TargetLease | undefined
  #isOurs = false
  isBegun = false

  constructor(spec: SpecOf<'point.delete'>, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#jobId = jobId
    this.#tools = tools
  }

  look(memory: JobMemory): void {
    this.isBegun = memory.staged() === BEGUN
  }

  async hide({ memory, secret, ...context }: StepContext): Promise<void> {
    const { points } = this.#tools
    const signal = this.isBegun ? unstopped : context.signal
    const order = `order/${this.#jobId}`
    this.#lease ??= await points.lease({ target: this.#spec.target, sealed: secret, context: order })
    this.#isOurs = await this.#looksLikeOurs(signal)
    if (this.#isOurs) await requireUnused(this.#place(), signal)
    await points.ended(this.#spec.pointId, signal)
    // Its pool may be away, or be this host's no more; whoever asks later which points there are finds that it is of none.
    await tolerating(dropBaseOf(this.#tools, this.#spec.pointId))
    await rm(join(points.indexes, this.#spec.pointId), { recursive: true, force: true })
    signal.throwIfAborted()
    if (!this.isBegun) await memory.stage(BEGUN)
    if (this.#isOurs) await hide(this.#place(), unstopped)
    const trashed = trashedPlaceOf(this.#place())
    if (this.#spec.trashed && (await isOurs(trashed, this.#spec, signal))) await hide(trashed, unstopped)
  }

  async clear(): Promise<void> {
    const signal = AbortSignal.timeout(CLEAR_MS)
    await tolerating(discardUnfinished(this.#place(), signal))
    if (this.#isOurs) await tolerating(this.#forget(signal))
    if (this.#spec.trashed) await tolerating(this.#clearTrash(signal))
  }

  async close(): Promise<void> {
    await this.#lease?.[Symbol.asyncDispose]()
    this.#lease = undefined
  }

  async #forget(signal: AbortSignal): Promise<void> {
    await updateMetadata(this.#place(), { gone: this.#spec.name }, signal)
    await removeImageOfNone(this.#place(), signal)
  }

  async #clearTrash(signal: AbortSignal): Promise<void> {
    const trashed = trashedPlaceOf(this.#place())
    if (trashed.target.features.renameDirectory) await sweepSeries(trashed, new Set(), signal)
    await removeEmptyTrash(this.#place(), signal)
  }

  /** Another group or fleet may keep its points in the same directory, and one of them may be why this one failed. */
  async #looksLikeOurs(signal: AbortSignal): Promise<boolean> {
    if (this.#spec.trashed && !this.#spec.failed) return isOurs(this.#place(), this.#spec, signal)
    const { target, series, name } = this.#place()
    const told = (await readMetadata(target, series, signal)).find((record) => record.name === name)
    return told?.id === undefined ? this.#spec.failed !== true : told.id === this.#spec.pointId
  }

  #place(): OwnPlace {
    assert(this.#lease)
    const { series, name, target } = this.#spec
    return { target: this.#lease.target, series, name, owner: ownerOf(target) }
  }
}
