import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { PointMade } from '../../../shared/point-spec.ts'
import type { TargetLease } from '../../points/point-tools.ts'
import { Rated } from '../../points/rate.ts'
import {
  claimDirectory,
  directoryOf,
  discardUnfinished,
  hide,
  isPublished,
  type OwnPlace,
  ownerOf,
  publish,
  releaseClaim,
  sumsAt,
  sweepSeries,
} from '../../points/series.ts'
import { putImage, removeImageOfNone } from '../../points/series-image.ts'
import { type PointRecord, readersOf, readMetadata, sha256, updateMetadata } from '../../points/series-metadata.ts'
import type { Pipeline, PipelineTools, StepContext, UndoContext } from '../pipeline.ts'
import { type Base, openBase, takesChanges } from './base.ts'
import { InstanceSource } from './instance-source.ts'
import { LunSource } from './lun-source.ts'
import { encodeReceipt, type PointReceipt, parseReceipt } from './point-receipt.ts'
import type { PointSource } from './point-source.ts'
import { requireRoom } from './room.ts'
import { named, tolerating, UNDO_MS } from './steps.ts'
import { TreeSource } from './tree-source.ts'
import { VolumeSource } from './volume-source.ts'
import { writePoint } from './write-point.ts'

/**
 * A backup of a dataset, a directory, an instance or a volume: written beside its place on the target and put there by one rename. What is written is noted in
 * the journal before that, so a repeat finds its own work; a repeat of half of it begins anew.
 */
export const createPoint: Pipeline<'point.create'> = (spec, jobId, tools) => {
  const creation = new Creation(spec, jobId, tools)
  return {
    steps: [
      // All is undone here, as an earlier run may have come further than this one.
      { ...named('look', (context) => creation.look(context)), undo: (context) => creation.undo(context) },
      named('snapshot', (context) => creation.snapshot(context)),
      named('write', (context) => creation.write(context)),
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
  readonly #source: PointSource
  #lease: TargetLease | undefined
  #base: Base | undefined
  #receipt: PointReceipt | undefined
  #known: readonly PointRecord[] = []
  #isClean = false
  /** Among those who write, where it was taken before the source was opened. */
  #turn: (() => void) | undefined
  isCommitted = false

  constructor(spec: Spec, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#jobId = jobId
    this.#tools = tools
    this.#source = openSource(spec, jobId, tools)
  }

  async look({ memory, secret, signal }: StepContext): Promise<void> {
    this.#receipt = parseReceipt(memory.staged())
    const place = await this.#open(secret)
    const sums = this.#receipt?.sums
    this.isCommitted = sums !== undefined && (await isPublished(place, sums, signal))
    if (this.isCommitted) {
      // An earlier run ended right behind its commit, perhaps while it wrote the metadata.
      await tolerating(place.target.sweep(place.series, { signal, olderThanMs: 0 }))
      return
    }
    if ((await sumsAt(place.target, directoryOf(place), signal)) !== undefined)
      throw new FleetError('exists', 'the target holds a point of this name already')
    if (this.#receipt !== undefined) return
    await place.target.mkdir(place.series, { signal })
    await discardUnfinished(place, signal)
    this.#known = await readMetadata(place.target, place.series, signal)
    // What others left there and cannot be removed is in nobody's way: the next order tries again.
    await tolerating(sweepSeries(place, new Set(this.#known.map(({ name }) => name)), signal))
    signal.throwIfAborted()
    this.#isClean = true
    await requireRoom(place.target, this.#spec, { known: this.#known, signal })
  }

  async snapshot(context: StepContext): Promise<void> {
    if (!this.isCommitted && this.#receipt === undefined) {
      if (this.#source.asksForBase) this.#base = await this.#openBase(context.signal)
      const takes = this.#base !== undefined && takesChanges(this.#base)
      if (takes && !this.#spec.consolidate) this.#turn = this.#tools.points.freeTurn()
      await this.#source.open(context, { takesChanges: takes, isReadAtOnce: this.#turn !== undefined })
      if (this.#source.instead !== undefined) return
      this.#giveTurnBack()
    }
    context.release()
  }

  async write(context: StepContext): Promise<void> {
    if (this.isCommitted || this.#receipt !== undefined) return
    const { signal, memory } = context
    const place = this.#place()
    this.#turn ??= await this.#tools.points.turn(signal)
    try {
      if (!this.#isClean) await discardUnfinished(place, signal)
      this.#isClean = false
      await claimDirectory(place, signal)
      await using base = this.#base ?? (await this.#openBase(signal))
      this.#base = undefined
      using rated = new Rated(context.progress, this.#totals(base))
      const written = await this.#written(place, base, { ...context, progress: rated.progress })
      await memory.stage(encodeReceipt(written))
      this.#receipt = written
    } finally {
      this.#giveTurnBack()
    }
  }

  #giveTurnBack(): void {
    this.#turn?.()
    this.#turn = undefined
  }

  /** The receipt goes before the point's files: without them it would promise what is not there. */
  async undo({ memory }: UndoContext): Promise<void> {
    if (this.isCommitted) return
    await this.#source.drop()
    await rm(this.#keptIndex, { recursive: true, force: true })
    if (this.#lease === undefined) return
    const signal = AbortSignal.timeout(UNDO_MS)
    const place = this.#place()
    const sums = this.#receipt?.sums
    // An earlier run may have ended right after it published: nobody was told of that point.
    if (sums !== undefined && (await isPublished(place, sums, signal))) await hide(place, signal)
    if (sums !== undefined) await memory.stage('')
    this.#receipt = undefined
    await discardUnfinished(place, signal)
    await removeImageOfNone(place, signal)
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
    const signal = AbortSignal.timeout(SETTLE_MS)
    await tolerating(releaseClaim(this.#place(), signal))
    await tolerating(updateMetadata(this.#place(), { made: this.#record(this.#receipt) }, signal))
    await tolerating(this.#source.keep())
  }

  result(): PointMade {
    assert(this.#receipt)
    return this.#receipt.made
  }

  async close(): Promise<void> {
    this.#source.close()
    this.#giveTurnBack()
    await this.#base?.[Symbol.asyncDispose]()
    this.#base = undefined
    await this.#lease?.[Symbol.asyncDispose]()
    this.#lease = undefined
  }

  get #keptIndex(): string {
    return join(this.#tools.points.indexes, this.#spec.pointId)
  }

  async #open(secret: string | undefined): Promise<OwnPlace> {
    const { points } = this.#tools
    this.#lease ??= await points.lease({
      target: this.#spec.target,
      sealed: secret,
      context: `order/${this.#jobId}`,
    })
    return this.#place()
  }

  #place(): OwnPlace {
    assert(this.#lease)
    const { series, name } = this.#spec
    return { target: this.#lease.target, series, name, owner: ownerOf(this.#spec.target) }
  }

  async #openBase(signal: AbortSignal): Promise<Base> {
    assert(this.#lease)
    return openBase(this.#spec, { lease: this.#lease, tools: this.#tools.points, known: this.#known }, signal)
  }

  /** Of a full one, what the last full one had: nobody knows before the tree is read. */
  #totals(base: Base): { totalBytes?: number; totalFiles?: number } {
    if (base.chain !== undefined && !this.#spec.consolidate) return {}
    const last = this.#known.findLast(({ full }) => full === true)
    return {
      ...(last?.sourceBytes === undefined ? {} : { totalBytes: last.sourceBytes }),
      ...(last?.members === undefined ? {} : { totalFiles: last.members }),
    }
  }

  async #written(place: OwnPlace, base: Base, watch: StepContext): Promise<PointReceipt> {
    assert(this.#lease)
    const { compression, target, consolidate } = this.#spec
    const lease = this.#lease
    const source = this.#source
    const written = await source.read(watch, async () =>
      writePoint(
        {
          place,
          base,
          lease,
          content: source.content,
          compression,
          consolidate,
          recipients: target.recipients,
          keptIndex: this.#keptIndex,
          scratch: this.#tools.points.scratch,
          settledBeforeMs: await source.settled(watch),
          changes: base.chain === undefined ? undefined : await source.changes(watch),
          whole: source.whole,
          instead: source.instead,
          onRead: () => watch.release(),
          onWritten: (written) => source.wrote?.(written),
        },
        watch,
      ),
    )
    const content = await source.image()
    const image = await putImage(place, { content, recipients: target.recipients, known: this.#known }, watch.signal)
    const { held } = source
    const consistency = source.atomic ? 'crash' : 'fuzzy'
    return { ...written, image, made: { ...written.made, consistency, ...(held === undefined ? {} : { held }) } }
  }

  #record({ made, sums, finishedAt, image }: PointReceipt) {
    const { name, pointId, bases, source, about, target } = this.#spec
    const { full, synthetic, encrypted, consistency, members, sourceBytes, storedBytes, problemCount } = made
    return {
      name,
      id: pointId,
      chain: full ? [] : bases.map((base) => base.name),
      sumsSha256: sha256(sums),
      ...{ full, synthetic, encrypted, consistency, members, sourceBytes, storedBytes, problems: problemCount },
      ...(encrypted ? { readers: readersOf(target.recipients) } : {}),
      finishedAt,
      source: toldOf(source),
      ...(image === undefined ? {} : { image }),
      about,
    }
  }
}

const SETTLE_MS = 120_000

function openSource(spec: Spec, jobId: string, tools: PipelineTools): PointSource {
  const { source } = spec
  switch (source.kind) {
    case 'instance':
      return new InstanceSource(source, jobId, tools)
    case 'volume':
      return new VolumeSource(spec, source, jobId, tools)
    case 'path':
    case 'dataset':
      return new TreeSource(spec, jobId, tools)
    case 'lun':
      return new LunSource(spec, source, jobId, tools)
  }
}

function toldOf(source: Spec['source']) {
  switch (source.kind) {
    case 'path':
      return { path: source.path }
    case 'dataset':
      return { dataset: source.place.dataset }
    case 'instance':
      return source.place
    case 'volume':
      return { volume: source.place.volume, ...(source.snapshot !== undefined && { snapshot: source.snapshot }) }
    case 'lun':
      return { lun: { targetName: source.connection.targetName, lun: source.connection.lun } }
  }
}
