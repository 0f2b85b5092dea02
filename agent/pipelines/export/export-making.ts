import assert from 'node:assert/strict'
import { FleetError } from '../../../shared/errors.ts'
import type { ExportElement, ExportSecrets, ExportsCreated } from '../../../shared/volume-spec.ts'
import type { Watch } from '../../drivers/driver.ts'
import type { Volume, Volumes } from '../../volumes/volumes.ts'
import type { PipelineTools, StepContext, UndoContext } from '../pipeline.ts'
import { type Answers, ElementList } from './element-list.ts'
import { encodeNote, type MakingNote, parseNote } from './making-note.ts'
import { chapOf, openSecrets } from './secrets.ts'
import { takeBack } from './take-back.ts'
import { byPool, eachAlone, isSamePlace, keyOf } from './volume-groups.ts'

/** What is begun behind the commit, or taken back, ends by itself within this. */
const SETTLE_MS = 300_000

type Tools = Pick<PipelineTools, 'volumes' | 'exports' | 'unseal' | 'logger'>

/** See `createExports`. */
export class ExportMaking {
  readonly #list: ElementList<'clone' | 'devices' | 'targets', ExportElement>
  readonly #places: ReadonlyMap<ExportElement, number>
  readonly #jobId: string
  readonly #tools: Tools
  readonly #volumes = new Map<ExportElement, Volume>()
  /** Were there before this job. */
  readonly #found = new Set<ExportElement>()
  #secrets: ExportSecrets = {}
  #note: MakingNote | undefined
  /** An earlier run wrote it. */
  #isResumed = false

  constructor(elements: readonly ExportElement[], jobId: string, tools: Tools) {
    this.#list = new ElementList(elements, ['clone', 'devices', 'targets'])
    this.#places = new Map(elements.map((element, place) => [element, place]))
    this.#jobId = jobId
    this.#tools = tools
  }

  get isCommitted(): boolean {
    return this.#note?.committed === true
  }

  async look(context: StepContext): Promise<void> {
    const noted = parseNote(context.memory.staged())
    this.#isResumed = noted !== undefined
    this.#note ??= noted
    this.#secrets = openSecrets(context, this.#tools)
    const wwns = new Set<string>()
    this.#list.check((element) => {
      if (wwns.has(element.wwn)) throw new FleetError('conflict', 'this wwn is asked for twice')
      wwns.add(element.wwn)
      this.#admit(element)
    })
    if (this.#note !== undefined) return
    this.#note = await this.#missing(context)
    await this.#stageNote(context)
  }

  async clone(context: StepContext): Promise<void> {
    const watch = this.#watch(context)
    await this.#list.pass('clone', this.#list.going, watch, async (part) => {
      const known = encodeNote(this.#noted)
      try {
        return await byPool(part, this.#tools, (volumes, some) => this.#cloneSome(volumes, some, watch))
      } finally {
        // Some that were there when it looked were not any more, or somebody else made them since.
        if (encodeNote(this.#noted) !== known) await this.#stageNote(context)
      }
    })
  }

  async settleDevices(context: StepContext): Promise<void> {
    const watch = this.#watch(context)
    await this.#list.pass('devices', this.#list.going, watch, (part) =>
      byPool(part, this.#tools, (volumes, some) => settleSome(volumes, some.map(this.#volumeOf), watch)),
    )
  }

  /** What nobody was shown before. */
  async addNew(context: StepContext): Promise<void> {
    await this.#add(
      this.#list.going.filter((element) => this.#makes('exports', element)),
      this.#watch(context),
    )
  }

  /** Behind the commit: exports that were there before, and what elements that failed left. */
  async settle(context: StepContext): Promise<void> {
    const before = this.#list.going.filter((element) => !this.#makes('exports', element))
    if (before.length > 0) {
      this.#noted.committed = true
      await this.#stageNote(context)
      await this.#add(before, this.#watch(context))
    }
    const failed = this.#list.all.filter((element) => this.#list.hasFailed(element))
    for (const [index, left] of (await this.#takeBack(failed)).entries()) {
      const element = failed[index]
      if (left !== undefined && element !== undefined) this.#list.failWorse(element, left)
    }
    this.#list.log(this.#tools.logger, { jobId: this.#jobId, kind: 'export.create' })
  }

  async undo({ memory }: UndoContext): Promise<void> {
    this.#note ??= parseNote(memory.staged())
    if (this.#note === undefined || this.isCommitted) return
    const left = (await this.#takeBack(this.#list.all)).filter((error) => error !== undefined)
    if (left.length > 0) throw new AggregateError(left, `${left.length} elements could not be taken back`)
    if (memory.staged()) await memory.stage('')
  }

  result(): ExportsCreated {
    const list = this.#list
    return {
      done: list.going.map((element) => {
        const { sizeBytes, device, guid, isWritten } = this.#volumeOf(element)
        const reused = this.#found.has(element)
        const { cow } = this.#tools.volumes(element.place.pool)
        return { n: element.n, volume: { sizeBytes, device, guid, cow }, reused, diverged: reused && isWritten }
      }),
      errors: list.failures().map(({ n, code, message }) => ({ n, code, message })),
      times: {
        cloneSeconds: list.secondsOf('clone'),
        deviceSeconds: list.secondsOf('devices'),
        targetSeconds: list.secondsOf('targets'),
      },
    }
  }

  #admit(element: ExportElement): void {
    const { source, place, wwn } = element
    if (source !== null && source.pool !== place.pool)
      throw new FleetError('invalid', 'a volume and what it is cloned from must be in one pool')
    const kept = this.#tools.exports.find(wwn)
    if (kept !== undefined && !isSamePlace(kept.place, place))
      throw new FleetError('conflict', `in use: the wwn serves '${keyOf(kept.place)}'`, {
        blockers: [keyOf(kept.place)],
      })
    chapOf(this.#secrets, element)
  }

  /** Of what is asked for twice, the first is who makes it. */
  async #missing({ signal }: Watch): Promise<MakingNote> {
    const note: MakingNote = { clones: new Set(), exports: new Set(), committed: false }
    const asked = this.#list.going.filter(({ source }) => source !== null)
    const first = [...Map.groupBy(asked, ({ place }) => keyOf(place)).values()].flatMap((some) => some.slice(0, 1))
    const answers = await byPool(first, this.#tools, (volumes, some) =>
      eachAlone(some, async (element) => {
        signal.throwIfAborted()
        if ((await volumes.find(element.place.volume)) === undefined) note.clones.add(this.#placeOf(element))
      }),
    )
    signal.throwIfAborted()
    for (const [index, element] of first.entries())
      if (answers[index] !== undefined) this.#list.fail(element, answers[index])
    for (const element of this.#list.going)
      if (this.#tools.exports.find(element.wwn) === undefined) note.exports.add(this.#placeOf(element))
    return note
  }

  async #cloneSome(volumes: Volumes, some: readonly ExportElement[], watch: Watch): Promise<Answers> {
    const answers = new Map<ExportElement, Error>()
    const cloned = some.flatMap((element) => (element.source === null ? [] : [{ element, source: element.source }]))
    const requests = cloned.map(({ element: { place, createParent }, source }) => ({
      source: { volume: source.volume, snapshot: source.snapshot },
      target: place.volume,
      createParent,
    }))
    const outcomes = requests.length === 0 ? [] : await volumes.clone(requests, { ...watch, progress: () => undefined })
    for (const [index, { element }] of cloned.entries()) {
      const outcome = outcomes[index]
      assert(outcome !== undefined)
      if (outcome instanceof Error) answers.set(element, outcome)
      else this.#keep(element, outcome)
    }
    const standing = some.filter(({ source }) => source === null)
    const looks = await eachAlone(standing, async (element) => {
      const found = await volumes.find(element.place.volume)
      if (found === undefined) throw new FleetError('not_found', `there is no volume '${keyOf(element.place)}'`)
      this.#volumes.set(element, found)
    })
    for (const [index, element] of standing.entries()) {
      const thrown = looks[index]
      if (thrown !== undefined) answers.set(element, thrown)
    }
    return some.map((element) => answers.get(element))
  }

  /** One that somebody else made since this job looked is not its own. */
  #keep(element: ExportElement, { volume, reused }: { readonly volume: Volume; readonly reused: boolean }): void {
    const [place, { clones }] = [this.#placeOf(element), this.#noted]
    const isOurs = !reused || (clones.has(place) && (this.#isResumed || this.#volumes.has(element)))
    this.#volumes.set(element, volume)
    if (isOurs) {
      clones.add(place)
      this.#found.delete(element)
    } else {
      clones.delete(place)
      this.#found.add(element)
    }
  }

  async #add(some: readonly ExportElement[], watch: Watch): Promise<void> {
    await this.#list.pass('targets', some, watch, (part) =>
      this.#tools.exports.add(
        part.map((element) => {
          const { exportId, wwn, place, access } = element
          const { device, guid } = this.#volumeOf(element)
          return { exportId, wwn, place, access, device, guid, chap: chapOf(this.#secrets, element) }
        }),
        watch.signal,
      ),
    )
  }

  #takeBack(some: readonly ExportElement[]): Promise<Answers> {
    const made = {
      clones: (element: ExportElement) => this.#makes('clones', element),
      exports: (element: ExportElement) => this.#makes('exports', element),
    }
    return takeBack(some, made, this.#tools, AbortSignal.timeout(SETTLE_MS))
  }

  async #stageNote({ memory }: Pick<StepContext, 'memory'>): Promise<void> {
    const { clones, exports, committed } = this.#noted
    const isEmpty = !committed && clones.size + exports.size === 0
    if (!isEmpty || memory.staged()) await memory.stage(encodeNote(this.#noted))
  }

  /** Behind the commit it is not to be stopped any more. */
  #watch({ signal, progress }: Watch): Watch {
    return { signal: this.isCommitted ? AbortSignal.timeout(SETTLE_MS) : signal, progress }
  }

  #makes(kind: 'clones' | 'exports', element: ExportElement): boolean {
    return this.#noted[kind].has(this.#placeOf(element))
  }

  get #noted(): MakingNote {
    assert(this.#note)
    return this.#note
  }

  #placeOf(element: ExportElement): number {
    const place = this.#places.get(element)
    assert(place !== undefined)
    return place
  }

  readonly #volumeOf = (element: ExportElement): Volume => {
    const volume = this.#volumes.get(element)
    assert(volume)
    return volume
  }
}

/** All at once, as long as none is missing; then each by itself, so that only that one fails. */
async function settleSome(volumes: Volumes, some: readonly Volume[], watch: Watch): Promise<Answers> {
  try {
    await volumes.settle(some, watch)
    return []
  } catch (thrown) {
    watch.signal.throwIfAborted()
    if (!(thrown instanceof FleetError) || some.length === 1) throw thrown
    return eachAlone(some, (volume) => volumes.settle([volume], watch))
  }
}
