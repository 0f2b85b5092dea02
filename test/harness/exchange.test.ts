import test from 'ava'
import { compare, substitute, valueAt } from './exchange.ts'

test('an expected object may have further members in the answer; an array may not', (t) => {
  t.deepEqual(compare({ a: 1 }, { a: 1, b: 2 }), [])
  t.deepEqual(compare({ a: 1 }, { a: 2 }), ['body.a: expected 1, got 2'])
  t.is(compare([1], [1, 2]).length, 1)
})

test('kinds, patterns and contained elements', (t) => {
  const actual = { id: 7, at: 1766506929, name: 'x', list: [{ n: 1 }, { n: 2, m: 3 }] }
  t.deepEqual(compare({ id: '<integer>', at: '<epoch>', name: '</^x$/>', gone: '<absent>' }, actual), [])
  t.deepEqual(compare({ list: { '<contains>': [{ n: 2 }] } }, actual), [])
  t.is(compare({ list: { '<contains>': [{ n: 9 }] } }, actual).length, 1)
  t.is(compare({ id: '<uuid>', at: '<text>', name: '<absent>' }, actual).length, 3)
  t.is(compare('<epoch>', 1766506929000).length, 1)
})

test('a variable alone keeps its type, and an unknown one is a slip', (t) => {
  const variables = { id: 7, run: 'ab' }
  t.deepEqual(substitute({ a: `\${id}`, b: [`x-\${run}`] }, variables), { a: 7, b: ['x-ab'] })
  t.throws(() => substitute(`\${nope}`, variables), { message: /no variable nope/ })
  t.is(valueAt({ a: [{ b: 5 }] }, 'a.0.b'), 5)
})
