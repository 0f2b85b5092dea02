import { stripVTControlCharacters } from 'node:util'

/** ava's closing lines (8.0.1, `lib/reporters/default.js`, `endRun`); the last of a kind counts. */
const COUNTS = {
  passed: /^\s*(\d+) tests? passed\b/,
  failedTests: /^\s*(\d+) tests? failed\b/,
  failedHooks: /^\s*(\d+) hooks? failed\b/,
  pendingTests: /^\s*(\d+) tests? remained pending\b/,
  rejections: /^\s*(\d+) unhandled rejections?$/,
  exceptions: /^\s*(\d+) uncaught exceptions?$/,
  skipped: /^\s*(\d+) tests? skipped$/,
} as const
type CountName = keyof typeof COUNTS

const FAILURES: readonly CountName[] = ['failedTests', 'failedHooks', 'pendingTests', 'rejections', 'exceptions']

/** A run in which something failed has no closing line for what passed; each test that did has one of its own. */
const PASSED_TEST = /^\s*✔ /

/** Said once by a test that finds while it runs that it cannot run here; ava takes it for one that passed. */
const SKIPPED_TEST = /^\s*ℹ SKIPPED: /

/** A file that does not load, has no test or ends by itself: no closing line counts it. */
const FILE_FAILURE =
  /^\s*(?:✘|×) (?:No tests found in|Exiting due to process\.exit|Internal error|.* exited (?:due to|with) )/

/** Reads ava's output line by line and sums it up. */
export function createTestTally() {
  const counts = new Map<CountName, number>()
  let brokenFiles = 0
  let passedTests = 0
  let skippedTests = 0
  const count = (name: CountName) => counts.get(name) ?? 0
  return {
    read(coloured: string): void {
      const line = stripVTControlCharacters(coloured)
      if (FILE_FAILURE.test(line)) brokenFiles++
      if (PASSED_TEST.test(line)) passedTests++
      if (SKIPPED_TEST.test(line)) skippedTests++
      for (const [name, pattern] of Object.entries(COUNTS)) {
        const found = pattern.exec(line)?.[1]
        // Object.entries widens its keys; they are those of COUNTS.
        if (found) counts.set(name as CountName, Number(found))
      }
    },
    /** @param exitCode ava's: a run that failed never says `0 failed`. */
    summary(exitCode: number): string {
      const failures = FAILURES.reduce((sum, name) => sum + count(name), brokenFiles)
      const failed = Math.max(failures, exitCode === 0 ? 0 : 1)
      const passed = (count('passed') || passedTests) - skippedTests
      return `${passed} passed, ${failed} failed, ${count('skipped') + skippedTests} skipped`
    },
  }
}
