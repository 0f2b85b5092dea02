import test from 'ava'
import { createTestTally } from './test-tally.ts'

function summaryOf(output: string, exitCode: number): string {
  const tally = createTestTally()
  for (const line of output.split('\n')) tally.read(line)
  return tally.summary(exitCode)
}

test('counts are those of ava’s closing lines, colours or not', (t) => {
  t.is(
    summaryOf('  \u001b[32m✔\u001b[39m a test\n\n  \u001b[32m12 tests passed\u001b[39m\n  1 test skipped\n', 0),
    '12 passed, 0 failed, 1 skipped',
  )
})

test('a test that finds it cannot run here is skipped, not passed', (t) => {
  t.is(
    summaryOf(
      '  ✔ one\n    ℹ SKIPPED: mounting a loop image needs root\n  ✔ two\n\n  2 tests passed\n  1 test skipped\n',
      0,
    ),
    '1 passed, 0 failed, 2 skipped',
  )
})

test('tests and hooks that failed count alike', (t) => {
  t.is(summaryOf('  3 tests passed\n  1 hook failed\n  2 tests failed\n', 1), '3 passed, 3 failed, 0 skipped')
})

test('where ava gives no count of what passed, its ticks are counted', (t) => {
  t.is(summaryOf('  ✔ one\n  ✔ two (1s)\n  ✘ [fail]: three\n\n  1 test failed\n', 1), '2 passed, 1 failed, 0 skipped')
})

test('a file that does not load is a failure though no test of it ran', (t) => {
  t.is(
    summaryOf('  ✘ deploy/x.test.ts exited with a non-zero exit code: 1\n\n  3 tests passed\n', 1),
    '3 passed, 1 failed, 0 skipped',
  )
})

test('a failed run never says that nothing failed', (t) => {
  t.is(summaryOf('', 1), '0 passed, 1 failed, 0 skipped')
})
