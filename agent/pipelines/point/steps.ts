import { FleetError } from '../../../shared/errors.ts'
import { asFleetError } from '../../native/system-error.ts'
import type { Step, StepContext } from '../pipeline.ts'

/** A target that is gone is not waited for longer when work on it is taken back. */
export const UNDO_MS = 60_000

/** A step whose failed system calls become FleetErrors. */
export function named(name: string, act: (context: StepContext) => Promise<void>, subject = 'backup'): Step {
  return {
    name,
    async run(context) {
      try {
        await act(context)
      } catch (thrown) {
        throw asFleetError(thrown, subject)
      }
    },
  }
}

/** For what follows the commit: what a target, a pool or a disk reports there does not take back what is done; a bug still ends the job. */
export async function tolerating(work: Promise<unknown>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!(asFleetError(error, 'backup') instanceof FleetError)) throw error
  })
}
