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

const OTHER_FAILURES: readonly CountName[] = ['failedHooks', 'pendingTests', 'rejections', 'exceptions']

/** A run in which something failed has no closing line for what passed; each test that did has one of its own. */
const PASSED_TEST = /^\s*✔ /

/** Its title, and why, as far as that stands on one line. */
const FAILED_TEST = /^\s*✘ \[fail\]: (.+)$/

/** Said once by a test that finds while it runs that it cannot run here; ava takes it for one that passed. */
const SKIPPED_TEST = /^\s*ℹ SKIPPED: /

/** A file that does not load, has no test or ends by itself: no closing line counts it. */
const FILE_FAILURE =
  /^\s*(?:✘|×) (?:No tests found in|Exiting due to process\.exit|Internal error|.* exited (?:due to|with) )/

/** The run ended before its tests did. */
const UNFINISHED = /^\s*(?:✘|×) (?:Timed out while running tests|Exiting due to SIGINT|\d+ tests? remaining in )/

/** What became of a run's tests. */
export interface Outcome {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** Tests and hooks that failed, as ava shows them: with what the first line of the failure says. */
  readonly failures: readonly string[]
  /** Tests failed, and nothing else is wrong: no hook, no file that did not load or did not end, nothing that nobody caught. */
  readonly isOnlyTests: boolean
}

/** Reads ava's output line by line and sums it up. */
export function createTestTally() {
  const counts = new Map<CountName, number>()
  const failures: string[] = []
  let isUnfinished = false
  let brokenFiles = 0
  let passedTests = 0
  let skippedTests = 0
  const count = (name: CountName) => counts.get(name) ?? 0
  return {
    read(coloured: string): void {
      const line = stripVTControlCharacters(coloured)
      if (FILE_FAILURE.test(line)) brokenFiles++
      if (UNFINISHED.test(line)) isUnfinished = true
      if (PASSED_TEST.test(line)) passedTests++
      if (SKIPPED_TEST.test(line)) skippedTests++
      const failure = FAILED_TEST.exec(line)?.[1]
      if (failure !== undefined) failures.push(failure)
      for (const [name, pattern] of Object.entries(COUNTS)) {
        const found = pattern.exec(line)?.[1]
        // Object.entries widens its keys; they are those of COUNTS.
        if (found) counts.set(name as CountName, Number(found))
      }
    },
    /** @param exitCode ava's: a run that failed never says `0 failed`. */
    outcome(exitCode: number): Outcome {
      const others = OTHER_FAILURES.reduce((sum, name) => sum + count(name), brokenFiles)
      const failedTests = count('failedTests')
      return {
        passed: (count('passed') || passedTests) - skippedTests,
        failed: Math.max(failedTests + others, exitCode === 0 ? 0 : 1),
        skipped: count('skipped') + skippedTests,
        failures,
        isOnlyTests:
          // ava itself ends with 1; any other code is that of something else.
          exitCode === 1 && !isUnfinished && others === 0 && failedTests > 0 && failedTests === failures.length,
      }
    },
  }
}

export function summaryOf({ passed, failed, skipped }: Outcome): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`
}
