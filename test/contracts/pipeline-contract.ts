import { randomUUID } from 'node:crypto'
import type { ExecutionContext } from 'ava'
import type { JobMemory, Step, StepContext, Work } from '../../agent/pipelines/pipeline.ts'
import { PipelineFailure, runPipeline } from '../../agent/pipelines/run-pipeline.ts'
import { FleetError } from '../../shared/errors.ts'
import type { JobKind, ResultOf } from '../../shared/job-spec.ts'

export interface PipelineSubject<Kind extends JobKind> {
  /** The order's work, anew for each run of it, as after a restart of the agent. */
  open(jobId: string): Promise<Work<Kind>>
  /** What of the world the order may change, in a comparable form, or the promise of it. */
  observe(): unknown
}

export interface PipelineContract<Kind extends JobKind> {
  readonly kind: Kind
  /** Begins the titles; default: the kind. */
  readonly title?: string
  /** Undefined (with a logged reason) when this machine cannot offer what the pipeline needs. */
  prepare(t: ExecutionContext): Promise<PipelineSubject<Kind> | undefined>
}

/** A journal in memory: what it holds survives a run, as the real one's does. */
export function memoryOf(): JobMemory {
  let staged: string | undefined
  return {
    staged: () => staged,
    stage: async (identity) => {
      staged = identity
    },
  }
}

export function contextOf(jobId: string, memory = memoryOf(), signal = new AbortController().signal): StepContext {
  return { jobId, memory, signal, progress: () => undefined, release: () => undefined }
}

/** `test`, or `test.serial`. */
type Declare = (title: string, run: (t: ExecutionContext) => Promise<unknown>) => void

/** What every pipeline must survive; each calls this with its own subject. */
export function pipelineContract<Kind extends JobKind>(
  test: Declare,
  { kind, title: name = kind, prepare }: PipelineContract<Kind>,
): void {
  const it = (title: string, body: (t: ExecutionContext, subject: PipelineSubject<Kind>) => Promise<void>) =>
    test(`${name}: ${title}`, async (t) => {
      const subject = await prepare(t)
      if (!subject) return t.pass()
      await body(t, subject)
    })

  it('each step run twice still succeeds', async (t, { open }) => {
    const jobId = randomUUID()
    const doubled = await open(jobId)
    const twice = (step: Step): Step => ({
      ...step,
      async run(context) {
        await step.run(context)
        await step.run(context)
      },
    })
    const work: Work<Kind> = { ...doubled, steps: doubled.steps.map(twice) }
    await t.notThrowsAsync(runPipeline(work, contextOf(jobId)))
  })

  it('a repeat after success answers the same', async (t, { open, observe }) => {
    const jobId = randomUUID()
    const context = contextOf(jobId)
    const first: ResultOf<Kind> = (await runPipeline(await open(jobId), context)).result
    const before = await observe()
    t.deepEqual((await runPipeline(await open(jobId), context)).result, first)
    t.deepEqual(await observe(), before)
  })

  it('a failure at each step before the commit unwinds clean, and the order can run again', async (t, {
    open,
    observe,
  }) => {
    await interruptEachStep(t, { open, observe }, (_context) => {
      throw new FleetError('busy', 'injected')
    })
  })

  it('a cancel at each step before the commit unwinds clean, and the order can run again', async (t, {
    open,
    observe,
  }) => {
    await interruptEachStep(t, { open, observe }, (abort) => abort())
  })
}

async function interruptEachStep<Kind extends JobKind>(
  t: ExecutionContext,
  { open, observe }: PipelineSubject<Kind>,
  interrupt: (abort: () => void) => void,
): Promise<void> {
  const before = await observe()
  const jobId = randomUUID()
  const memory = memoryOf()
  const { steps: all } = await open(jobId)
  const found = all.findIndex((step) => step.commits)
  const commitIndex = found < 0 ? all.length - 1 : found
  for (let index = 0; index < commitIndex; index += 1) {
    const cancel = new AbortController()
    const work = await open(jobId)
    const steps = work.steps.map((step, at): Step => {
      if (at !== index) return step
      return {
        ...step,
        async run(context) {
          await step.run(context)
          interrupt(() => cancel.abort())
        },
      }
    })
    const failure = await t.throwsAsync(runPipeline({ ...work, steps }, contextOf(jobId, memory, cancel.signal)))
    t.true(failure instanceof PipelineFailure && failure.cause instanceof FleetError)
    t.deepEqual(await observe(), before)
  }
  await t.notThrowsAsync(runPipeline(await open(jobId), contextOf(jobId, memory)))
}
