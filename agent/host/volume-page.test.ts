import test from 'ava'
import { READS } from '../../shared/wire/reads.ts'
import { watch } from '../../test/contracts/driver-contract.ts'
import { MIB } from '../../test/contracts/volume-contract.ts'
import { createSimVolumes } from '../volumes/sim/sim-volumes.ts'
import { volumePage } from './volume-page.ts'

test('a pool tells its volumes page by page, with their snapshots and where they come from', async (t) => {
  const volumes = createSimVolumes()
  const source = { volume: 'golden', snapshot: 's' }
  await volumes.create({ volume: 'golden', sizeBytes: MIB, createParent: false }, watch)
  await volumes.snapshot(source, watch)
  for (const target of ['a', 'b', 'c']) await volumes.clone([{ source, target, createParent: false }], watch)
  const pages: unknown[] = []
  let cursor: string | undefined
  do {
    const request = { pool: 'main', limit: 2, ...(cursor === undefined ? {} : { cursor }) }
    const page = READS.volumes.answer.parse(await volumePage(() => volumes, request, Infinity))
    pages.push(page.items.map(({ path, origin, snapshots }) => [path, origin, ...snapshots].join(' ')))
    cursor = page.next ?? undefined
  } while (cursor !== undefined)
  t.deepEqual(pages, [
    ['a golden@s', 'b golden@s'],
    ['c golden@s', 'golden  s'],
  ])
})

test('a page fits one message, whatever lies in the pool', async (t) => {
  const volumes = createSimVolumes()
  for (let n = 0; n < 4; n += 1) {
    const volume = `v${n}`
    await volumes.create({ volume, sizeBytes: MIB, createParent: false }, watch)
    for (let s = 0; s < 1_001; s += 1) await volumes.snapshot({ volume, snapshot: `${s}`.padStart(190, 's') }, watch)
  }
  const page = await volumePage(() => volumes, { pool: 'main', limit: 1000 }, Infinity)
  t.true(JSON.stringify(page).length < 600_000)
  t.is(page.next, page.items.at(-1)?.path ?? null)
  t.like(page.items[0], { path: 'v0', isCut: true })
  t.is(page.items[0]?.snapshots.length, 1_000)
})

test('what was found when the time was up is answered, and the next page goes on there', async (t) => {
  const volumes = createSimVolumes()
  for (let n = 0; n < 600; n += 1) {
    await volumes.create({ volume: `v${1000 + n}`, sizeBytes: MIB, createParent: false }, watch)
  }
  const first = await volumePage(() => volumes, { pool: 'main', limit: 1000 }, 0)
  t.deepEqual([first.items.length, first.next], [250, 'v1249'])
  const rest = await volumePage(() => volumes, { pool: 'main', limit: 1000, cursor: 'v1249' }, Infinity)
  t.deepEqual([rest.items.length, rest.next], [350, null])
  const exact = await volumePage(() => volumes, { pool: 'main', limit: 600 }, Infinity)
  t.deepEqual([exact.items.length, exact.next], [600, null])
})
