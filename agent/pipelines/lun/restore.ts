import assert from 'node:assert/strict'
import type { SpecOf } from '../../../shared/job-spec.ts'
import { LunRestored } from '../../../shared/volume-spec.ts'
import { restoreImage } from '../../archive/image/restore-image.ts'
import type { LunLogin } from '../../iscsi/connection.ts'
import { Rated } from '../../points/rate.ts'
import type { Pipeline, PipelineTools, StepContext } from '../pipeline.ts'
import { type OpenPoint, openPoint } from '../point/extraction.ts'
import { named } from '../point/steps.ts'
import { lunLogin } from './lun-login.ts'

const SUBJECT = 'restore'

/**
 * A point's image is written over a LUN that nobody else uses, with zeros where it holds nothing. What is written the second time is the
 * same, so a repeat begins anew; one of what is all written and kept there finds that noted. What fails leaves it half written: whoever
 * lent it knows by the job's end.
 */
export const restoreLun: Pipeline<'lun.restore'> = (spec, jobId, tools) => {
  const restore = new Restore(spec, jobId, tools)
  return {
    steps: [
      named('look', (context) => restore.look(context), SUBJECT),
      { ...named('write', (context) => restore.write(context), SUBJECT), commits: true },
    ],
    committed: () => restore.isDone,
    result: () => restore.result(),
    close: () => restore.close(),
  }
}

/** looked → written, or looked → written when an earlier run came so far. */
class Restore {
  readonly #spec: SpecOf<'lun.restore'>
  readonly #jobId: string
  readonly #tools: PipelineTools
  #login: LunLogin | undefined
  #point: OpenPoint | undefined
  #done: LunRestored | undefined

  constructor(spec: SpecOf<'lun.restore'>, jobId: string, tools: PipelineTools) {
    this.#spec = spec
    this.#jobId = jobId
    this.#tools = tools
  }

  get isDone(): boolean {
    return this.#done !== undefined
  }

  async look(context: StepContext): Promise<void> {
    const noted = context.memory.staged()
    this.#done = noted === undefined || noted === '' ? undefined : LunRestored.parse(JSON.parse(noted))
    if (this.isDone) return
    const { signal, secret } = context
    this.#login = await lunLogin({ ...this.#spec, jobId: this.#jobId, secret }, this.#tools, signal)
    await this.close()
    this.#point = await openPoint(this.#spec, this.#tools.points, context)
  }

  async write({ signal, progress, memory }: StepContext): Promise<void> {
    if (this.isDone) return
    assert(this.#point && this.#login)
    const { chain, tools } = this.#point
    const over = await tools.turn(signal)
    try {
      using rated = new Rated(progress)
      const request = { subject: SUBJECT, chain, lun: this.#login, scratch: tools.scratch }
      const { bytes } = await restoreImage(request, { signal, progress: rated.progress })
      await memory.stage(JSON.stringify({ bytes }))
      this.#done = { bytes }
    } finally {
      over()
    }
  }

  result(): LunRestored {
    assert(this.#done)
    return this.#done
  }

  async close(): Promise<void> {
    await this.#point?.[Symbol.asyncDispose]()
    this.#point = undefined
  }
}
