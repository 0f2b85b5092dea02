import test from 'ava'
import { createSlowestFiles } from './slowest-files.ts'

test('files are told by how long their tests took, the longest first', (t) => {
  let nowMs = 0
  const slowest = createSlowestFiles(() => nowMs)
  for (const [atMs, line] of [
    [0, '  ✔ agent › a › one (1s)'],
    [500, '  ✔ test › b › one'],
    [1_000, '  \u001b[31m✘\u001b[39m [fail]: test › b › two'],
    [9_000, '  ✔ test › b › three'],
    [4_000, '  ✔ agent › a › two'],
    [20_000, '    ℹ what a test › says › of itself'],
    [30_000, '  ✔ a title without a file'],
  ] as const) {
    nowMs = atMs
    slowest.read(line)
  }
  t.is(slowest.summary(), '9 s test/b, 4 s agent/a')
})
