import { FleetError, toFleetError } from '../../../shared/errors.ts'
import type { ExportsDeleted, UnexportElement } from '../../../shared/volume-spec.ts'
import type { Watch } from '../../drivers/driver.ts'
import type { Volumes } from '../../volumes/volumes.ts'
import type { Pipeline, PipelineTools, Step, StepContext } from '../pipeline.ts'
import { dropBases, sourceOf } from '../point/base-snapshots.ts'
import { named } from '../point/steps.ts'
import { type Answers, ElementList } from './element-list.ts'
import { byPool, eachAlone, isSamePlace, keyOf } from './volume-groups.ts'

/** A call that is under way is not broken off: each is bounded by itself, and half of it would be told as nothing. */
const CALL_MS = 300_000
const BEGUN = 'begun'

/**
 * Sessions, target and then the volume of each, never more than that; absence is success. Each element fails alone. Nothing is taken
 * back: from the first call on the job succeeds, and whoever cancels it then finds the elements that were not reached among its errors.
 */
export const deleteExports: Pipeline<'export.delete'> = (spec, jobId, tools) => {
  const deletion = new Deletion(spec.elements, jobId, tools)
  const unexport = named('targets', (context) => deletion.unexport(context), 'export')
  const steps: readonly Step[] = [
    // With an undo, so that also an order that was cancelled before its turn sees whether an earlier run began.
    { ...named('look', (context) => deletion.look(context), 'export'), undo: async () => undefined },
    { ...unexport, commits: true },
    named('clone', (context) => deletion.destroy(context), 'export'),
  ]
  return { steps, committed: () => deletion.hasBegun, result: () => deletion.result() }
}

class Deletion {
  readonly #list: ElementList<'targets' | 'clone', UnexportElement>
  readonly #jobId: string
  readonly #tools: PipelineTools
  readonly #unexported = new Set<UnexportElement>()
  hasBegun = false

  constructor(elements: readonly UnexportElement[], jobId: string, tools: PipelineTools) {
    this.#list = new ElementList(elements, ['targets', 'clone'])
    this.#jobId = jobId
    this.#tools = tools
  }

  async look({ memory }: StepContext): Promise<void> {
    this.hasBegun = memory.staged() === BEGUN
    const going = new Set(this.#list.all.map(({ wwn }) => wwn))
    this.#list.check((element) => this.#admit(element, going))
  }

  async unexport(context: StepContext): Promise<void> {
    if (!this.hasBegun) {
      await context.memory.stage(BEGUN)
      this.hasBegun = true
    }
    await this.#pass('targets', this.#list.going, context, async (part) => {
      const answers = await this.#tools.exports.remove(
        part.map(({ wwn, force }) => ({ wwn, force })),
        AbortSignal.timeout(CALL_MS),
      )
      for (const [index, element] of part.entries()) if (answers[index] === undefined) this.#unexported.add(element)
      return answers
    })
  }

  async destroy(context: StepContext): Promise<void> {
    await this.#pass('clone', this.#list.going, context, (part) =>
      byPool(
        part.filter(({ deleteVolume }) => deleteVolume),
        this.#tools,
        (volumes, some) => eachAlone(some, (element) => this.#destroyOne(volumes, element)),
      ),
    )
    this.#list.log(this.#tools.logger, { jobId: this.#jobId, kind: 'export.delete' })
  }

  result(): ExportsDeleted {
    const list = this.#list
    return {
      done: list.going.map(({ n }) => ({ n })),
      errors: list.failures().map(({ element, n, code, message }) => ({
        ...{ n, code, message },
        unexported: this.#unexported.has(element),
      })),
      times: {
        cloneSeconds: list.secondsOf('clone'),
        deviceSeconds: 0,
        targetSeconds: list.secondsOf('targets'),
      },
    }
  }

  /** What will not be deleted in the end is not unexported first. */
  #admit({ wwn, place, deleteVolume, exportId }: UnexportElement, going: ReadonlySet<string>): void {
    const kept = this.#tools.exports.find(wwn)
    if (kept !== undefined && !isSamePlace(kept.place, place))
      throw new FleetError('conflict', `in use: the wwn serves '${keyOf(kept.place)}'`, {
        blockers: [keyOf(kept.place)],
      })
    if (kept !== undefined && exportId !== undefined && kept.exportId !== exportId)
      throw new FleetError('conflict', 'in use: the wwn is another export by now', { blockers: [wwn] })
    if (deleteVolume) this.#requireUnexported(place, (other) => going.has(other))
  }

  async #destroyOne(volumes: Volumes, { place }: UnexportElement): Promise<void> {
    this.#requireUnexported(place, () => false)
    await volumes.destroy(place.volume, { signal: AbortSignal.timeout(CALL_MS), progress: () => undefined })
    // The volume is gone all the same: the agent's next start forgets what it finds no more.
    await dropBases(this.#tools, sourceOf(place)).catch((error: unknown) => {
      this.#tools.logger.warn({ event: 'volume.bases_kept', jobId: this.#jobId, err: toFleetError(error) })
    })
  }

  #requireUnexported(place: UnexportElement['place'], isGoing: (wwn: string) => boolean): void {
    const others = this.#tools.exports.ofVolume(place).filter(({ wwn }) => !isGoing(wwn))
    if (others.length === 0) return
    const blockers = others.map(({ wwn }) => wwn)
    throw new FleetError('conflict', `in use: the volume is exported as ${blockers.join(', ')}`, { blockers })
  }

  /** One that is cancelled says of each that was not reached that it was; an agent that stops goes on with it when it starts. */
  async #pass(
    phase: 'targets' | 'clone',
    some: readonly UnexportElement[],
    context: Watch,
    call: (part: readonly UnexportElement[]) => Promise<Answers>,
  ): Promise<void> {
    const { signal } = context
    try {
      await this.#list.pass(phase, some, context, call)
    } catch (thrown) {
      if (!signal.aborted || thrown !== signal.reason || isStopping(signal)) throw thrown
      const cancelled = new FleetError('cancelled', 'the job was cancelled before this')
      for (const element of this.#list.notThrough(phase)) this.#list.fail(element, cancelled)
    }
  }
}

function isStopping({ reason }: AbortSignal): boolean {
  return reason instanceof FleetError && reason.code !== 'cancelled'
}
