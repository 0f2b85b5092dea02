import test from 'ava'
import { staysInside } from './member-name.ts'

test('links stay inside by their own text, and together', (t) => {
  const inside = ['b', './b', '../b', '../..', 'b/c', '../../b/./c', '']
  for (const text of inside) t.true(staysInside('x/y/z', text), text)
  const outside = ['/b', '../../..', '../../../b', '../../b/../../../etc']
  for (const text of outside) t.false(staysInside('x/y/z', text), text)
  // `x/y/z` is the root, so `t` would be two above it.
  t.true(staysInside('x/y/z', '../..'))
  t.false(staysInside('t', 'x/y/z/../..'))
})
