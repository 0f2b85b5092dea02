import { FleetError } from '../../shared/errors.ts'
import type { Phase } from '../../shared/job-event.ts'
import type { JobKind, ResultOf } from '../../shared/job-spec.ts'
import type { Step, StepContext, Work } from './pipeline.ts'

/** `cause` is what a step threw: a FleetError, or a bug. */
export class PipelineFailure extends Error {
  override readonly name = 'PipelineFailure'
  /** The steps that were done before it. */
  readonly phases: readonly Phase[]

  constructor(cause: unknown, phases: readonly Phase[]) {
    super(cause instanceof Error ? cause.message : 'a step failed', { cause })
    this.phases = phases
  }
}

const MS_PER_SECOND = 1_000
/** A cancelled order finds out in this time what an earlier run of it left; what it does not is undone as well as may be. */
const LOOK_MS = 60_000

/**
 * Runs the steps in order. A failure or an abort before the commit undoes, in reverse, every step that was begun; afterwards
 * nothing is undone and the signal is ignored. Closes the work whatever happened.
 * @param isResumed an earlier run may have died: one that is cancelled before its first step looks all the same, and undoes or says that it is done
 * @throws PipelineFailure
 */
export async function runPipeline<Kind extends JobKind>(
  work: Work<Kind>,
  context: StepContext,
  isResumed = false,
): Promise<{ readonly result: ResultOf<Kind>; readonly phases: readonly Phase[] }> {
  const phases: Phase[] = []
  const begun: Step[] = []
  let committed = false
  try {
    for (const step of work.steps) {
      const isLate = !committed && context.signal.aborted
      // Only a first step that can be undone just looks.
      const looks = isLate && isResumed && begun.length === 0 && step.undo !== undefined
      if (isLate && !looks) {
        if (isResumed && begun.length === 0 && (await work.late?.())) break
        throw cancelled()
      }
      begun.push(step)
      const startedMs = performance.now()
      if (looks) await lookLate(step, context)
      else await step.run(context)
      phases.push({ name: step.name, seconds: (performance.now() - startedMs) / MS_PER_SECOND })
      committed ||= step.commits === true || work.committed?.() === true
    }
    return { result: work.result(), phases }
  } catch (cause) {
    throw new PipelineFailure(committed ? cause : await undone(begun, context, cause), phases)
  } finally {
    await work.close?.()
  }
}

async function lookLate(step: Step, context: StepContext): Promise<void> {
  try {
    await step.run({ ...context, signal: AbortSignal.timeout(LOOK_MS) })
  } catch {
    throw cancelled() // whatever cannot be seen is undone all the same
  }
}

function cancelled(): FleetError {
  return new FleetError('cancelled', 'cancelled')
}

/** @returns what to report: the failure itself, with a failed undo noted */
async function undone(begun: readonly Step[], context: StepContext, failure: unknown): Promise<unknown> {
  const undoFailures: unknown[] = []
  for (const step of begun.toReversed()) {
    await step.undo?.(context).catch((error: unknown) => undoFailures.push(error))
  }
  if (undoFailures.length === 0) return failure
  const cause = new AggregateError([failure, ...undoFailures], 'a step failed, and so did its undo')
  if (!(failure instanceof FleetError)) return new FleetError('internal', 'internal error', { left: true, cause })
  const detail = [failure.detail, ...undoFailures.map((error) => `undo: ${error}`)].filter(Boolean).join('; ')
  return new FleetError(failure.code, failure.message, { detail, left: true, cause })
}
