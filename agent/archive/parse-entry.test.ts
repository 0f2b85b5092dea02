import test from 'ava'
import { FleetError } from '../../shared/errors.ts'
import { parseEntry } from './parse-entry.ts'

const LINE = {
  ...{ p: 'a/b', t: 'f', o: 0, n: 0, d: 512, s: 3, mode: 0o644, u: 0, g: 0, m: '1.000000000', c: '2.000000000', i: 7 },
  ...{ k: 2, holes: 1024, patch: [1, 2, 'h'], h: 'h', l: 'l', lo: 512, x: 'changed' },
}
const MAY_MISS = new Set(['k', 'holes', 'patch', 'h', 'l', 'lo', 'x'])
/** `t` may be `-`; what no member has is left out by itself. */
const WRONG: readonly unknown[] = [null, true, {}, [], -1, 0.5, 1e300, [1, 0, 'h'], [1, 2], [1, 2, 3], ['1', 2, 'h']]
const NUMBERS = new Set(['o', 'n', 'd', 's', 'mode', 'u', 'g', 'i', 'k', 'holes', 'lo'])

test('a line of the index is read only if each of its fields is what it should be', (t) => {
  const read = (line: object) => parseEntry(JSON.stringify(line))
  t.like(read(LINE), {
    path: 'a/b',
    storedSize: 1024,
    links: 2,
    patch: { number: 1, depth: 2, over: 'h' },
    problem: 'changed',
  })
  t.deepEqual(read({ p: 'a', t: '-' }), { path: 'a', type: 'gone' })
  for (const key of Object.keys(LINE)) {
    const missing = { ...LINE, [key]: undefined }
    if (MAY_MISS.has(key)) t.notThrows(() => read(missing), key)
    else t.is(t.throws(() => read(missing), { instanceOf: FleetError }, key)?.code, 'corrupt')
    for (const wrong of [...WRONG, NUMBERS.has(key) ? '1' : 1]) {
      const error = t.throws(() => read({ ...LINE, [key]: wrong }), { instanceOf: FleetError }, `${key} ${wrong}`)
      t.is(error?.code, 'corrupt')
    }
  }
})
