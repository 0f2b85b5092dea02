import { type Outcome, summaryOf } from './test-tally.ts'

/** More than so many are no accident. */
const MAX_FILES = 3

/**
 * The files that run once more, alone and one at a time, after a run in which a few tests failed and nothing else went wrong
 * (docs/decisions/0060). @param fileOf see `createFileFinder` @returns undefined when there is nothing to try again, or too much
 */
export function filesToTryAgain(
  first: Outcome,
  fileOf: (shown: string) => string | undefined,
): readonly string[] | undefined {
  if (!first.isOnlyTests) return undefined
  const files = new Set(first.failures.map(fileOf))
  const known = [...files].filter((file) => file !== undefined)
  return known.length === files.size && files.size <= MAX_FILES ? known : undefined
}

/** The closing line of a run whose failed files ran again: what failed in both, or only in the second, counts as failed. */
export function summaryOfBoth(first: Outcome, second: Outcome): string {
  // Something else went wrong the second time: nothing of it counts for what failed.
  if (second.failed > 0 && !second.isOnlyTests)
    return summaryOf({ ...first, failed: Math.max(first.failed, second.failed) })
  const recovered = Math.max(first.failed - second.failed, 0)
  const passed = first.passed + first.failed - second.failed
  return `${summaryOf({ ...first, passed, failed: second.failed })}, ${recovered} passed on a second try`
}
