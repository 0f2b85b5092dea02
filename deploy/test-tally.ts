import { stripVTControlCharacters } from 'node:util'

/** ava's closing lines (`lib/reporters/default.js`, `writeWithCounts`); the last of a kind counts. */
const COUNTS = {
  passed: /^\s*(\d+) passed\b/,
  failedTests: /^\s*(\d+) tests? failed\b/,
  failedHooks: /^\s*(\d+) hooks? failed\b/,
  skipped: /^\s*(\d+) skipped$/,
} as const

/** What fails a run without being a test: a file that does not load or exits, an exception outside tests, a time-out. */
const OTHER_FAILURE =
  /^\s*(?:✘|×) (?:No tests found in|Exiting due to|Internal error|Error in shared worker|Timed out|.* exited (?:due to|with))|^\s*(?:Uncaught exception|Unhandled rejection) in /

/** Reads ava's output line by line and sums it up. */
export function createTestTally() {
  const counts: Record<keyof typeof COUNTS, number> = { passed: 0, failedTests: 0, failedHooks: 0, skipped: 0 }
  let others = 0
  return {
    read(coloured: string): void {
      const line = stripVTControlCharacters(coloured)
      if (OTHER_FAILURE.test(line)) others++
      for (const [name, pattern] of Object.entries(COUNTS)) {
        const found = pattern.exec(line)?.[1]
        // Object.entries widens its keys; they are those of COUNTS.
        if (found) counts[name as keyof typeof COUNTS] = Number(found)
      }
    },
    /** @param exitCode ava's: a run that failed never says `0 failed`. */
    summary(exitCode: number): string {
      const failed = Math.max(counts.failedTests + counts.failedHooks + others, exitCode === 0 ? 0 : 1)
      return `${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped`
    },
  }
}
