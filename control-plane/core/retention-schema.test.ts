import test from 'ava'
import { Retention } from './retention-schema.ts'

test('a retention is unlimited or at least two', (t) => {
  for (const retention of [0, 2, 3, 2_147_483_647]) t.is(Retention.parse(retention), retention)
  for (const retention of [1, -1, 2.5, '3', null, 2_147_483_648]) {
    t.regex(Retention.safeParse(retention).error?.issues[0]?.message ?? '', /^must be 0 \(unlimited\), or .* from 2 /)
  }
})
