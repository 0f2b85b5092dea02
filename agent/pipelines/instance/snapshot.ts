import assert from 'node:assert/strict'
import { FleetError } from '../../../shared/errors.ts'
import { InstanceSnapshotted } from '../../../shared/instance-spec.ts'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { Instance } from '../../instances/instances.ts'
import type { Pipeline, PipelineTools, Step, StepContext, UndoContext } from '../pipeline.ts'
import { named } from '../point/steps.ts'
import { PartSnapshots } from './part-snapshots.ts'
import { existing, type Standstill, type StandstillEnd, standStill } from './standstill.ts'

/** Noted by an order that found all names free. */
const FREE = 'free'

type Spec = SpecOf<'instance.snapshot'>

/**
 * looked (all names are free, which is noted) → taken, in which time it stands still → noted, which commits. A run that was killed before
 * that note has taken nothing that counts: the next one takes it back first, as its snapshots are of another instant.
 */
export const snapshotInstance: Pipeline<'instance.snapshot'> = (spec, jobId, tools) => {
  const capture = new Capture(spec, jobId, tools)
  return {
    steps: capture.steps,
    committed: () => capture.isCommitted,
    result: () => capture.result(),
  }
}

class Capture {
  readonly #spec: Spec
  readonly #jobId: string
  readonly #tools: PipelineTools
  readonly #parts: PartSnapshots
  #standstill: Standstill | undefined
  #taken: InstanceSnapshotted | undefined
  isCommitted = false

  constructor(spec: Spec, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#jobId = jobId
    this.#tools = tools
    this.#parts = new PartSnapshots(spec.parts, tools)
  }

  get steps(): readonly Step[] {
    return [
      // All is undone here, as an earlier run may have come further than this one.
      { ...named('look', (context) => this.#look(context), 'snapshot'), undo: (context) => this.#undo(context) },
      named('take', (context) => this.#take(context), 'snapshot'),
      { ...named('commit', (context) => this.#commit(context), 'snapshot'), commits: true },
    ]
  }

  result(): InstanceSnapshotted {
    assert(this.#taken)
    return this.#taken
  }

  async #look({ memory }: StepContext): Promise<void> {
    const noted = memory.staged()
    if (!noted) {
      await this.#parts.requireFree()
      await memory.stage(FREE)
    } else if (noted === FREE) {
      await this.#parts.takeBack()
    } else {
      this.#taken = InstanceSnapshotted.parse(JSON.parse(noted))
      this.isCommitted = true
    }
  }

  async #take(context: StepContext): Promise<void> {
    if (this.#taken !== undefined) return
    const { place } = this.#spec
    const instance = await existing(this.#tools.instances(place.type), place.instance, context.signal)
    await this.#parts.prepare()
    const standstill = await this.#hold(instance, context.signal)
    this.#standstill = standstill
    try {
      const isHeld = this.#spec.hold === 'pause' && instance.state === 'RUNNING'
      const parts = await (isHeld ? this.#takeWithin(context) : this.#parts.take(context))
      const end = await standstill.end()
      const consistency = this.#consistencyOf(instance, end)
      this.#taken = { parts: [...parts], consistency, ...(end.held === undefined ? {} : { held: end.held }) }
    } catch (thrown) {
      await standstill.end().catch(() => undefined) // `undo` tries again; why it failed matters more
      throw thrown
    }
  }

  /** Where nothing can freeze it, what is of one instant by itself is taken all the same, each at its own. */
  async #hold(instance: Instance, signal: AbortSignal): Promise<Standstill> {
    const { hold } = this.#spec
    const held = (wanted: Spec['hold']) =>
      standStill({
        instances: this.#tools.instances(instance.type),
        stopped: this.#tools.stopped,
        turns: this.#tools.turns,
        jobId: this.#jobId,
        id: instance.id,
        hold: wanted,
        maxMs: this.#tools.freezeMs,
        signal,
      })
    try {
      return await held(hold)
    } catch (thrown) {
      const isImpossible = thrown instanceof FleetError && thrown.code === 'unavailable'
      if (!isImpossible || !this.#parts.areOneInstantEach) throw thrown
      return held('none')
    }
  }

  /** Never for longer than it may be kept frozen. */
  async #takeWithin({ signal, progress }: StepContext) {
    const late = AbortSignal.timeout(this.#tools.freezeMs)
    try {
      return await this.#parts.take({ signal: AbortSignal.any([signal, late]), progress })
    } catch (thrown) {
      if (signal.aborted || !late.aborted) throw thrown
      throw new FleetError('timeout', 'its snapshots took longer than an instance may be kept frozen', {
        cause: thrown,
      })
    }
  }

  /** @throws conflict where parts of it are not of one instant by themselves, and it moved meanwhile */
  #consistencyOf({ state }: Instance, { intact, isFlushed, held }: StandstillEnd): InstanceSnapshotted['consistency'] {
    if (intact && !isFlushed) return 'crash'
    if (intact) return held === undefined && state === 'STOPPED' ? 'stopped' : 'frozen'
    if (this.#parts.areOneInstantEach) return 'crash'
    throw new FleetError('conflict', 'the instance did not stand still until its snapshots were taken')
  }

  async #commit({ memory }: StepContext): Promise<void> {
    if (this.isCommitted) return
    await memory.stage(JSON.stringify(this.result()))
    this.isCommitted = true
  }

  async #undo({ memory }: UndoContext): Promise<void> {
    if (this.isCommitted || memory.staged() !== FREE) return
    try {
      await this.#standstill?.end()
    } finally {
      await this.#parts.takeBack()
    }
    this.#taken = undefined
    await memory.stage('')
  }
}
