import test from 'ava'
import type { LockedPoint, PointFindings } from './orders.ts'
import { chainOf } from './point-chain.ts'

const HOST = 'host-a'

function point(id: string, chain: readonly string[], given: Partial<LockedPoint> = {}): LockedPoint {
  const series = { groupId: 'g', seriesId: 's', series: 'series', targetId: null, hostId: HOST, host: HOST }
  const soundness = { isDeleting: false, isTrashed: false, isReturning: false, isDamaged: false }
  const state = { status: 'good', ...soundness, pinned: false, encrypted: false, sumsSha256: null } as const
  return { id, name: id, chain, version: 1, ...series, ...state, ...given }
}

/** Of points named in the order of time. */
function among(points: readonly LockedPoint[]): PointFindings {
  const newestFirst = points.toReversed()
  return {
    withPointId: (id) => points.find((one) => one.id === id),
    dependants: () => [],
    newest: () => newestFirst[0],
    newestGood: () => newestFirst.find(({ status, isDamaged }) => status === 'good' && !isDamaged),
    damaged: () => points.filter(({ isDamaged }) => isDamaged),
  }
}

const increment = (points: readonly LockedPoint[]) =>
  chainOf(among(points), { incremental: true, hostId: HOST, hasIdentity: false })

test('an increment completes the newest good point and all that this one rests on', (t) => {
  const { bases, fullReason } = increment([point('a', []), point('b', ['a']), point('c', ['a', 'b'])])
  t.deepEqual(
    bases.map(({ id }) => id),
    ['a', 'b', 'c'],
  )
  t.is(fullReason, null)
})

test('nothing is built on what a damaged point rests on: the damage may lie there', (t) => {
  const { bases, fullReason } = increment([point('a', []), point('b', ['a'], { isDamaged: true })])
  t.deepEqual(bases, [])
  t.regex(fullReason ?? '', /damaged/)
})

test('a full point after the damage, and a damaged point that rests on others, hold nothing up', (t) => {
  const { bases } = increment([point('a', []), point('b', ['a'], { isDamaged: true }), point('c', [])])
  t.deepEqual(
    bases.map(({ id }) => id),
    ['c'],
  )
})

test('where every good point is damaged, the full one says so', (t) => {
  t.regex(increment([point('a', [], { isDamaged: true })]).fullReason ?? '', /damaged/)
  t.regex(increment([point('a', [], { status: 'failed' })]).fullReason ?? '', /no good point/)
})
