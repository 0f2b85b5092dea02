import test from 'ava'
import { filesToTryAgain, summaryOfBoth } from './second-try.ts'

const FAILED = { passed: 10, failed: 2, skipped: 1, failures: ['a › one', 'b › two'], isOnlyTests: true }
const fileOf = (shown: string) => (shown.startsWith('?') ? undefined : `${shown.slice(0, 1)}.test.ts`)

test('the files of a few failed tests run again', (t) => {
  t.deepEqual(filesToTryAgain(FAILED, fileOf), ['a.test.ts', 'b.test.ts'])
  t.deepEqual(filesToTryAgain({ ...FAILED, failures: ['a › one', 'a › two'] }, fileOf), ['a.test.ts'])
})

test('many failures, failures of something else and those of no known file are final', (t) => {
  t.is(filesToTryAgain({ ...FAILED, failures: ['a › 1', 'b › 2', 'c › 3', 'd › 4'] }, fileOf), undefined)
  t.is(filesToTryAgain({ ...FAILED, isOnlyTests: false }, fileOf), undefined)
  t.is(filesToTryAgain({ ...FAILED, failures: ['?'] }, fileOf), undefined)
})

test('the closing line counts what passed on a second try', (t) => {
  const passed = { passed: 5, failed: 0, skipped: 0, failures: [], isOnlyTests: false }
  t.is(summaryOfBoth(FAILED, passed), '12 passed, 0 failed, 1 skipped, 2 passed on a second try')
  const half = { passed: 4, failed: 1, skipped: 0, failures: ['a › one'], isOnlyTests: true }
  t.is(summaryOfBoth(FAILED, half), '11 passed, 1 failed, 1 skipped, 1 passed on a second try')
  const worse = { passed: 0, failed: 1, skipped: 0, failures: [], isOnlyTests: false }
  t.is(summaryOfBoth(FAILED, worse), '10 passed, 2 failed, 1 skipped')
})
