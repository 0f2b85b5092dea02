import assert from 'node:assert/strict'
import { constants } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { PointMade } from '../../../shared/point-spec.ts'
import { close, openDirectory, reopen } from '../../native/paths.ts'
import type { TargetLease } from '../../points/point-tools.ts'
import { Rated } from '../../points/rate.ts'
import {
  directoryOf,
  discardTree,
  incrementDirectoryOf,
  isPoint,
  type PointPlace,
  publish,
  sumsAt,
  sweepSeries,
  workingDirectoryOf,
} from '../../points/series.ts'
import { readMetadata, sha256, updateMetadata } from '../../points/series-metadata.ts'
import type { Pipeline, PipelineTools, StepContext, UndoContext } from '../pipeline.ts'
import { type Base, openBase } from './base.ts'
import { openPathSource } from './path-source.ts'
import { encodeReceipt, type PointReceipt, parseReceipt } from './point-receipt.ts'
import { requireRoom } from './room.ts'
import { named, UNDO_MS } from './steps.ts'
import { writePoint } from './write-point.ts'

/**
 * A backup of a dataset or directory: written beside its place on the target and put there by one rename. What is written is noted in
 * the journal before that, so a repeat finds its own work; a repeat of half of it begins anew.
 */
export const createPoint: Pipeline<'point.create'> = (spec, jobId, tools) => {
  const creation = new Creation(spec, jobId, tools)
  return {
    steps: [
      named('look', (context) => creation.look(context)),
      { ...named('snapshot', (context) => creation.snapshot(context)), undo: () => creation.dropSnapshot() },
      { ...named('write', (context) => creation.write(context)), undo: (context) => creation.unwrite(context) },
      { ...named('commit', (context) => creation.commit(context)), commits: true },
      named('settle', () => creation.settle()),
    ],
    committed: () => creation.isCommitted,
    result: () => creation.result(),
    close: () => creation.close(),
  }
}

type Spec = SpecOf<'point.create'>

/** looked → snapshot taken → written → committed → settled, or looked → committed when an earlier run came so far. */
class Creation {
  readonly #spec: Spec
  readonly #jobId: string
  readonly #tools: PipelineTools
  #lease: TargetLease | undefined
  #rootFd: number | undefined
  #atomic = false
  #receipt: PointReceipt | undefined
  isCommitted = false

  constructor(spec: Spec, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#jobId = jobId
    this.#tools = tools
  }

  async look({ memory, secret, signal }: StepContext): Promise<void> {
    const place = await this.#open(secret)
    this.#receipt = parseReceipt(memory.staged())
    const standing = await sumsAt(place.target, directoryOf(place), signal)
    this.isCommitted = this.#receipt !== undefined && standing === this.#receipt.sums
    if (this.isCommitted) return
    if (standing !== undefined) throw new FleetError('exists', 'the target holds a point of this name already')
    if (this.#receipt !== undefined) return
    await place.target.mkdir(place.series, { signal })
    await this.#discard(place, signal)
    await sweepSeries(place.target, place.series, signal)
    await requireRoom(place, this.#spec, signal)
  }

  async snapshot(context: StepContext): Promise<void> {
    if (!this.isCommitted && this.#receipt === undefined) await this.#openSource(context)
    context.release()
  }

  async dropSnapshot(): Promise<void> {
    const { source, pointId } = this.#spec
    if (this.isCommitted || source.kind !== 'dataset') return
    this.#closeSource()
    await this.#tools.driver(source.place.pool).destroy(pointId, unwatched)
    this.#tools.points.own.forget(pointId)
  }

  async write(context: StepContext): Promise<void> {
    if (this.isCommitted || this.#receipt !== undefined) return
    const { signal, memory } = context
    const place = this.#place()
    const turn = await this.#tools.points.turn(signal)
    try {
      await this.#discard(place, signal)
      await using base = await this.#openBase(signal)
      using rated = new Rated(context.progress, await this.#totals(base, signal))
      const written = await this.#written(place, base, { signal, progress: rated.progress })
      await memory.stage(encodeReceipt(written))
      this.#receipt = written
    } finally {
      turn()
    }
  }

  /** The receipt goes first: without the point's files it would promise what is not there. */
  async unwrite({ memory }: UndoContext): Promise<void> {
    if (this.isCommitted || this.#lease === undefined) return
    if (this.#receipt !== undefined) await memory.stage('')
    this.#receipt = undefined
    await rm(this.#keptIndex, { recursive: true, force: true })
    await this.#discard(this.#place(), AbortSignal.timeout(UNDO_MS))
  }

  async commit({ signal }: StepContext): Promise<void> {
    if (this.isCommitted) return
    assert(this.#receipt)
    await publish(this.#place(), this.#receipt.sums, signal)
    this.isCommitted = true
  }

  /** The point stands: what fails here is made up for by the next order of the series, or when the agent starts. */
  async settle(): Promise<void> {
    assert(this.#receipt)
    const { source, pointId } = this.#spec
    const place = this.#place()
    const signal = AbortSignal.timeout(SETTLE_MS)
    await tolerating(updateMetadata(place, { made: this.#record(this.#receipt) }, signal))
    this.#closeSource()
    if (source.kind !== 'dataset') return
    await tolerating(this.#tools.driver(source.place.pool).destroy(pointId, unwatched))
    this.#tools.points.own.forget(pointId)
  }

  result(): PointMade {
    assert(this.#receipt)
    return this.#receipt.made
  }

  async close(): Promise<void> {
    this.#closeSource()
    await this.#lease?.[Symbol.asyncDispose]()
    this.#lease = undefined
  }

  get #keptIndex(): string {
    return join(this.#tools.points.indexes, this.#spec.pointId)
  }

  async #open(secret: string | undefined): Promise<PointPlace> {
    const { points } = this.#tools
    this.#lease ??= await points.lease({
      target: this.#spec.target,
      sealed: secret,
      context: `order/${this.#jobId}`,
    })
    return this.#place()
  }

  #place(): PointPlace {
    assert(this.#lease)
    const { series, name } = this.#spec
    return { target: this.#lease.target, series, name }
  }

  async #openSource(context: StepContext): Promise<void> {
    const { source, pointId } = this.#spec
    this.#closeSource()
    if (source.kind === 'path') {
      this.#rootFd = openPathSource(source.path, this.#tools)
      return
    }
    const { pool, dataset } = source.place
    const driver = this.#tools.driver(pool)
    if (driver.name === 'sim') throw new FleetError('refused', 'simulated pools hold no files')
    this.#tools.points.own.claim({ pool, dataset: pointId, use: { kind: 'job', jobId: this.#jobId } })
    const image = await driver.snapshot({ source: dataset, target: pointId, readonly: true }, context)
    this.#atomic = image.atomic
    this.#rootFd = openForReading(image.mountpoint)
  }

  #closeSource(): void {
    if (this.#rootFd !== undefined) close(this.#rootFd)
    this.#rootFd = undefined
  }

  /** Takes away what an earlier run left: never what a receipt stands for. */
  async #discard(place: PointPlace, signal: AbortSignal): Promise<void> {
    const { target } = place
    await discardTree(target, incrementDirectoryOf(place), signal)
    if (!target.features.renameDirectory && (await isPoint(place, { signal }))) return
    await discardTree(target, workingDirectoryOf(place), signal)
  }

  async #openBase(signal: AbortSignal): Promise<Base> {
    assert(this.#lease)
    return openBase(this.#spec, { lease: this.#lease, tools: this.#tools.points }, signal)
  }

  /** Of a full one, what the last full one had: nobody knows before the tree is read. */
  async #totals(base: Base, signal: AbortSignal): Promise<{ totalBytes?: number; totalFiles?: number }> {
    if (base.chain !== undefined && !this.#spec.consolidate) return {}
    const { target, series } = this.#place()
    const last = (await readMetadata(target, series, signal)).findLast(({ full }) => full === true)
    return {
      ...(last?.sourceBytes === undefined ? {} : { totalBytes: last.sourceBytes }),
      ...(last?.members === undefined ? {} : { totalFiles: last.members }),
    }
  }

  async #written(place: PointPlace, base: Base, watch: Parameters<typeof writePoint>[1]): Promise<PointReceipt> {
    assert(this.#rootFd !== undefined && this.#lease)
    const { compression, target, consolidate } = this.#spec
    const written = await writePoint(
      {
        place,
        base,
        lease: this.#lease,
        rootFd: this.#rootFd,
        compression,
        consolidate,
        recipients: target.recipients,
        keptIndex: this.#keptIndex,
        scratch: this.#tools.points.scratch,
      },
      watch,
    )
    return { ...written, made: { ...written.made, consistency: this.#atomic ? 'crash' : 'fuzzy' } }
  }

  #record({ made, sums, finishedAt }: PointReceipt) {
    const { name, pointId, bases, source, about } = this.#spec
    const { full, synthetic, encrypted, consistency, members, sourceBytes, storedBytes, problemCount } = made
    return {
      name,
      id: pointId,
      chain: full ? [] : bases.map((base) => base.name),
      sumsSha256: sha256(sums),
      ...{ full, synthetic, encrypted, consistency, members, sourceBytes, storedBytes, problems: problemCount },
      finishedAt,
      source: source.kind === 'path' ? { path: source.path } : { dataset: source.place.dataset },
      about,
    }
  }
}

const SETTLE_MS = 120_000
const unwatched = { signal: new AbortController().signal, progress: () => undefined }

function openForReading(path: string): number {
  const pathFd = openDirectory(path)
  try {
    return reopen(pathFd, constants.O_RDONLY | constants.O_DIRECTORY)
  } finally {
    close(pathFd)
  }
}

/** What an operation of the target or the pool reports does not take back what is done; a bug still ends the job. */
async function tolerating(work: Promise<void>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!(error instanceof FleetError)) throw error
  })
}
