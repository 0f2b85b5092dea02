import { FleetError } from '../../../shared/errors.ts'
import type { Step } from '../pipeline.ts'

/** Noted by an order that found the name free. */
const FREE = 'free'

/**
 * The first step of an order that makes something under a name: what has the name already is somebody else's, unless an earlier run of
 * this very order found it free. From then on it is taken back when the order fails or is cancelled, also after a restart.
 */
export function firstLook({
  subject,
  isThere,
  takeBack,
}: {
  /** Begins messages that clients may read. */
  readonly subject: string
  isThere(): Promise<boolean>
  takeBack(): Promise<void>
}): Step {
  return {
    name: 'look',
    async run({ memory }) {
      if (memory.staged() === FREE) return
      if (await isThere()) throw new FleetError('exists', `${subject} is there already`)
      await memory.stage(FREE)
    },
    async undo({ memory }) {
      if (memory.staged() !== FREE) return
      await takeBack()
      await memory.stage('')
    },
  }
}
