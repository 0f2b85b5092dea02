import test from 'ava'
import { hashExports } from './exports-hash.ts'
import type { WantedExport } from './volume-spec.ts'

const ONE: WantedExport = {
  exportId: '01900000-0000-7000-8000-000000000001',
  wwn: 'iqn.2026-01.test:a',
  place: { pool: 'tank', volume: 'a' },
  access: { initiators: ['iqn.2026-01.test:i1', 'iqn.2026-01.test:i2'], chapUser: null },
}

test('exports have one hash in any sequence, and another one when anything of them is another', (t) => {
  const two = { ...ONE, wwn: 'iqn.2026-01.test:b' }
  const turned = { ...ONE, access: { ...ONE.access, initiators: ONE.access.initiators.toReversed() } }
  t.is(hashExports([ONE, two]), hashExports([two, turned]))
  const others = [
    [],
    [ONE],
    [two],
    [{ ...ONE, place: { pool: 'tank', volume: 'b' } }],
    [{ ...ONE, place: { pool: 'tan', volume: 'ka' } }],
    [{ ...ONE, access: { ...ONE.access, chapUser: 'u' } }],
    [{ ...ONE, access: { ...ONE.access, initiators: ['iqn.2026-01.test:i1'] } }],
    [{ ...ONE, access: { ...ONE.access, isReadonly: true } }],
    [{ ...ONE, exportId: '01900000-0000-7000-8000-000000000002' }],
  ]
  t.is(new Set(others.map(hashExports)).size, others.length)
  t.is(hashExports([ONE]), hashExports([{ ...ONE, access: { ...ONE.access, isReadonly: false } }]))
  t.true(others.every((exports) => hashExports(exports).length === 43))
})
