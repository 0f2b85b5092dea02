import test from 'ava'
import { createLiveExports } from './export-live.ts'
import type { HostReads } from './host-reads.ts'

test('a page waits for silent hosts as long as for one of them, however many there are', async (t) => {
  const asked: string[] = []
  const silence = Promise.withResolvers<never>()
  const reads: HostReads = {
    async ask(host) {
      asked.push(host)
      return silence.promise
    },
  }
  const live = createLiveExports({ reads, fleet: { isOnline: () => true }, withinMs: 20 })
  const given = {
    groupId: 'g',
    volume: 'p/v',
    initiators: [],
    chapUser: null,
    isReadonly: false,
    state: 'available',
  } as const
  const exports = Array.from({ length: 100 }, (_, n) => {
    return { ...given, id: `e${n}`, wwn: `iqn.2026-01.test:${n}`, host: `h${n}`, createdAt: new Date(0), version: 1 }
  })
  t.is((await live(exports)).size, 0)
  const before = asked.length
  t.true(before > 0 && before < 100)
  silence.reject(new Error('silent'))
  await new Promise(setImmediate)
  t.is(asked.length, before, 'nobody is asked for an answer that was given')
})
