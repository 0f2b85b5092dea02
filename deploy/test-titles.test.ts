import test from 'ava'
import { createFileFinder, testFiles } from './test-titles.ts'

test('a title names its file, whatever it says itself', (t) => {
  const fileOf = createFileFinder(['deploy/test-tally.test.ts', 'agent/points.test.ts', 'agent/points/chain.test.ts'])
  t.is(fileOf('deploy › tally › counts › that are long'), 'deploy/test-tally.test.ts')
  t.is(fileOf('agent › points › chain › one'), 'agent/points/chain.test.ts')
  t.is(fileOf('agent › points › one'), 'agent/points.test.ts')
  t.is(fileOf('elsewhere › points › one'), undefined)
})

test('files with tests are found where ava finds them', (t) => {
  const found = testFiles(import.meta.dirname)
  t.true(found.includes('test-titles.test.ts'))
  t.false(found.includes('test-titles.ts'))
})
