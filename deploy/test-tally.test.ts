import test from 'ava'
import { createTestTally, summaryOf } from './test-tally.ts'

function outcomeOf(output: string, exitCode: number) {
  const tally = createTestTally()
  for (const line of output.split('\n')) tally.read(line)
  return tally.outcome(exitCode)
}

function closingLine(output: string, exitCode: number): string {
  return summaryOf(outcomeOf(output, exitCode))
}

test('counts are those of ava’s closing lines, colours or not', (t) => {
  t.is(
    closingLine('  \u001b[32m✔\u001b[39m a test\n\n  \u001b[32m12 tests passed\u001b[39m\n  1 test skipped\n', 0),
    '12 passed, 0 failed, 1 skipped',
  )
})

test('a test that finds it cannot run here is skipped, not passed', (t) => {
  t.is(
    closingLine(
      '  ✔ one\n    ℹ SKIPPED: mounting a loop image needs root\n  ✔ two\n\n  2 tests passed\n  1 test skipped\n',
      0,
    ),
    '1 passed, 0 failed, 2 skipped',
  )
})

test('tests and hooks that failed count alike', (t) => {
  t.is(closingLine('  3 tests passed\n  1 hook failed\n  2 tests failed\n', 1), '3 passed, 3 failed, 0 skipped')
})

test('where ava gives no count of what passed, its ticks are counted', (t) => {
  t.is(closingLine('  ✔ one\n  ✔ two (1s)\n  ✘ [fail]: three\n\n  1 test failed\n', 1), '2 passed, 1 failed, 0 skipped')
})

test('a file that does not load is a failure though no test of it ran', (t) => {
  t.is(
    closingLine('  ✘ deploy/x.test.ts exited with a non-zero exit code: 1\n\n  3 tests passed\n', 1),
    '3 passed, 1 failed, 0 skipped',
  )
})

test('a failed run never says that nothing failed', (t) => {
  t.is(closingLine('', 1), '0 passed, 1 failed, 0 skipped')
})

test('failures of tests are told from all else that ends a run', (t) => {
  const oneFailed = '  ✘ [fail]: deploy › x › three Error thrown in test\n\n  1 test failed\n'
  t.like(outcomeOf(oneFailed, 1), { failures: ['deploy › x › three Error thrown in test'], isOnlyTests: true })
  for (const [more, exitCode] of [
    ['  1 hook failed\n', 1],
    ['  1 unhandled rejection\n', 1],
    ['  1 uncaught exception\n', 1],
    ['  ✘ deploy/y.test.ts exited with a non-zero exit code: 1\n', 1],
    ['  ✘ Timed out while running tests\n', 1],
    ['  ✘ Exiting due to SIGINT\n', 1],
    ['  ✘ 2 tests remaining in deploy/y.test.ts\n', 1],
    ['', 137],
  ] as const)
    t.false(outcomeOf(oneFailed + more, exitCode).isOnlyTests, more)
  t.false(outcomeOf('  3 tests passed\n', 0).isOnlyTests)
})
