import assert from 'node:assert/strict'
import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { requireUnused } from '../../points/dependants.ts'
import type { TargetLease } from '../../points/point-tools.ts'
import { type OwnPlace, ownerOf } from '../../points/series.ts'
import { type PointRecord, readMetadata, updateMetadata } from '../../points/series-metadata.ts'
import {
  moveToTrash,
  readRecord,
  removeEmptyTrash,
  removeRecord,
  takeBack,
  trashedPlaceOf,
  whereIs,
  writeRecord,
} from '../../points/trash.ts'
import type { Pipeline, PipelineTools, StepContext } from '../pipeline.ts'
import { named, tolerating, UNDO_MS } from './steps.ts'

type Spec = SpecOf<'point.trash'> | SpecOf<'point.untrash'>
type Kind = Spec['kind']

/** A move that has begun is not stopped: its calls are bounded by themselves. */
const unstopped = new AbortController().signal
const SETTLE_MS = 120_000

/**
 * A point that retention deleted leaves its series by one rename, with what `backup-metadata` told of it. A repeat finds it where it
 * is. What cannot be tidied behind the rename is made up for by the next order of the series.
 */
export const trashPoint: Pipeline<'point.trash'> = pipeline

/** The same way back. The trash is tidied behind it. */
export const untrashPoint: Pipeline<'point.untrash'> = pipeline

function pipeline(spec: Spec, jobId: string, tools: PipelineTools) {
  const move = new Move(spec, jobId, tools)
  return {
    steps: [
      // All is undone here, as an earlier run may have come further than this one.
      { ...named('look', (context) => move.look(context)), undo: () => move.undo() },
      named('note', (context) => move.note(context)),
      { ...named('move', () => move.commit()), commits: true as const },
      named('settle', () => move.settle()),
    ],
    committed: () => move.isDone,
    result: () => ({}),
    close: () => move.close(),
  }
}

const DESTINATION: Readonly<Record<Kind, 'series' | 'trash'>> = { 'point.trash': 'trash', 'point.untrash': 'series' }

/** looked → noted → moved → settled, or looked → settled when an earlier run came so far. */
class Move {
  readonly #spec: Spec
  readonly #jobId: string
  readonly #tools: PipelineTools
  #lease: TargetLease | undefined
  #record: PointRecord | undefined
  isDone = false

  constructor(spec: Spec, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#jobId = jobId
    this.#tools = tools
  }

  async look({ signal, secret }: StepContext): Promise<void> {
    const { points } = this.#tools
    const context = `order/${this.#jobId}`
    this.#lease ??= await points.lease({ target: this.#spec.target, sealed: secret, context })
    const place = this.#place()
    const found = await whereIs(place, this.#spec, signal)
    if (found === undefined) throw new FleetError('not_found', 'the target does not hold this point')
    this.isDone = found === this.#destination
    if (!this.isDone && this.#destination === 'trash') await requireUnused(place, signal)
    this.#record = await this.#told(found === 'trash' ? trashedPlaceOf(place) : place, signal)
  }

  async note({ signal }: StepContext): Promise<void> {
    if (this.isDone || this.#destination === 'series') return
    assert(this.#record)
    await writeRecord(this.#place(), this.#record, signal)
  }

  async commit(): Promise<void> {
    if (this.isDone) return
    await (this.#destination === 'trash' ? moveToTrash : takeBack)(this.#place(), unstopped)
    this.isDone = true
  }

  async settle(): Promise<void> {
    await tolerating(this.#settle(AbortSignal.timeout(SETTLE_MS)))
  }

  /** What was noted of a point that stays where it is. */
  async undo(): Promise<void> {
    if (this.#lease === undefined || this.isDone || this.#destination === 'series') return
    const signal = AbortSignal.timeout(UNDO_MS)
    // Its answer may be what was lost of a move that failed.
    if ((await whereIs(this.#place(), this.#spec, signal)) === 'series') {
      await removeRecord(this.#place(), signal)
      await removeEmptyTrash(this.#place(), signal)
    }
  }

  async close(): Promise<void> {
    await this.#lease?.[Symbol.asyncDispose]()
    this.#lease = undefined
  }

  async #settle(signal: AbortSignal): Promise<void> {
    const place = this.#place()
    if (this.#destination === 'trash') return updateMetadata(place, { gone: place.name }, signal)
    assert(this.#record)
    await updateMetadata(place, { made: this.#record }, signal)
    await removeRecord(place, signal)
    await removeEmptyTrash(place, signal)
  }

  /** What lies with the point is newer than what its series' file says. */
  async #told(place: OwnPlace, signal: AbortSignal): Promise<PointRecord> {
    const { name, pointId: id, sumsSha256 } = this.#spec
    return (
      (await readRecord(place, signal)) ??
      (await readMetadata(place.target, place.series, signal)).find((record) => record.name === name) ?? {
        ...{ name, id },
        ...(sumsSha256 === undefined ? {} : { sumsSha256 }),
      }
    )
  }

  get #destination(): 'series' | 'trash' {
    return DESTINATION[this.#spec.kind]
  }

  #place(): OwnPlace {
    assert(this.#lease)
    const { series, name, target } = this.#spec
    return { target: this.#lease.target, series, name, owner: ownerOf(target) }
  }
}
