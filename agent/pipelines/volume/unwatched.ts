import type { Watch } from '../../drivers/driver.ts'

/** What takes something back ends by itself within this, whatever became of the order. */
const TAKE_BACK_MS = 300_000

export function unwatched(): Watch {
  return { signal: AbortSignal.timeout(TAKE_BACK_MS), progress: () => undefined }
}
