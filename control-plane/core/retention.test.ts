import test from 'ava'
import { decideRetention, type RetentionPoint, type RetentionQuestion } from './retention.ts'

const DAY_MS = 86_400_000
const NOW = Date.UTC(2024, 4, 1)

/** `id` is also its day of April 2024, at noon UTC. */
function point(day: number, over: Partial<RetentionPoint> = {}): RetentionPoint {
  return {
    id: `${day}`,
    status: 'good',
    damaged: false,
    takenAtMs: Date.UTC(2024, 3, day, 12),
    bases: [],
    pinned: false,
    inUse: false,
    ...over,
  }
}

/** Points of these days, the oldest first. */
const days = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, n) => point(first + n))

/** What goes as `id: rule`, what stays too, each in the order told. */
function decide(points: readonly RetentionPoint[], over: Partial<RetentionQuestion> = {}) {
  const decision = decideRetention({ points, retention: 2, timezone: 'UTC', nowMs: NOW, ...over })
  const told = (list: readonly { id: string; rule: string }[]) => list.map(({ id, rule }) => `${id}: ${rule}`)
  return { gone: told(decision.delete), kept: told(decision.keep), decision }
}

test('the newest N good points stay, and both say why', (t) => {
  const { decision } = decide(days(1, 4), { retention: 3 })
  t.deepEqual(decision, {
    delete: [{ id: '1', rule: 'superseded', why: 'no rule keeps it, and the newest run was good' }],
    keep: [
      { id: '4', rule: 'newest', why: 'the newest good point is never deleted' },
      { id: '3', rule: 'count', why: 'one of the newest 3 good points' },
      { id: '2', rule: 'count', why: 'one of the newest 3 good points' },
    ],
  })
})

test('0 is unlimited, and 1 is a bug of the caller', (t) => {
  t.deepEqual(decide(days(1, 30), { retention: 0 }).gone, [])
  t.deepEqual(decide(days(1, 30), { retention: 0, keep: { daily: 0 } }).gone, [])
  t.throws(() => decide(days(1, 3), { retention: 1 }))
  t.throws(() => decide(days(1, 3), { retention: -2 }))
})

test('failed runs take no place of a good point, and go once a good one is newer', (t) => {
  const points = [point(1), point(2), point(3, { status: 'failed' }), point(4, { status: 'failed' }), point(5)]
  t.deepEqual(decide(points, { retention: 3 }).gone, ['4: failed', '3: failed'])
  t.deepEqual(decide(points, { retention: 0 }).gone, ['4: failed', '3: failed'])
})

test('while runs fail nothing goes, however many, and the preview tells what would', (t) => {
  const failed = [5, 6, 7].map((day) => point(day, { status: 'failed' }))
  const { gone, kept } = decide([...days(1, 4), ...failed])
  t.deepEqual(gone, [])
  t.deepEqual(kept, [
    '7: unreplaced',
    '6: unreplaced',
    '5: unreplaced',
    '4: newest',
    '3: count',
    '2: waits',
    '1: waits',
  ])
})

test('a partial run is not good: it stops deletion as the newest, and is kept as long as a good one would be', (t) => {
  const partial = point(3, { status: 'partial' })
  t.deepEqual(decide([...days(1, 2), partial]).gone, [])
  t.deepEqual(decide([...days(1, 2), partial, point(4)]).kept, ['4: newest', '3: unreplaced', '2: count'])
  t.deepEqual(decide([...days(1, 2), partial, ...days(4, 5)]).gone, ['3: incomplete', '2: superseded', '1: superseded'])
  t.deepEqual(decide([partial, ...days(4, 9)], { retention: 0 }).gone, [])
})

test('with days kept, a partial run stays as long as those days', (t) => {
  const points = [point(1, { status: 'partial' }), ...days(2, 5)]
  t.deepEqual(decide(points, { keep: { daily: 5 } }).gone, [])
  t.deepEqual(decide(points, { keep: { daily: 4 } }).gone, ['1: incomplete'])
})

test('a run that left no point stops deletion by the word of the caller', (t) => {
  t.deepEqual(decide(days(1, 3), { newestRunGood: false }).kept, ['3: newest', '2: count', '1: waits'])
  t.deepEqual(decide(days(1, 3), { newestRunGood: true }).gone, ['1: superseded'])
  t.deepEqual(decide([...days(1, 3), point(4, { status: 'failed' })], { newestRunGood: true }).gone, [])
})

test('a run that goes on does not stop deletion; it and what it completes stay', (t) => {
  const running = point(5, { status: 'running', bases: ['1'] })
  t.deepEqual(decide([...days(1, 4), running]), {
    ...decide([...days(1, 4), running]),
    gone: ['2: superseded'],
    kept: ['5: running', '4: newest', '3: count', '1: base'],
  })
})

test('pinned points and points in use stay beside those that are counted', (t) => {
  const points = [point(1, { pinned: true }), point(2, { inUse: true }), ...days(3, 6)]
  t.deepEqual(decide(points).gone, ['4: superseded', '3: superseded'])
  t.deepEqual(decide(points).kept, ['6: newest', '5: count', '2: in_use', '1: pinned'])
  t.deepEqual(decide([point(1, { status: 'failed', pinned: true }), point(2)]).gone, [])
})

test('what others are restored from stays with them, and says with which', (t) => {
  const chain = [
    point(1),
    point(2, { bases: ['1'] }),
    point(3, { bases: ['1', '2'] }),
    point(4, { bases: ['1', '2', '3'] }),
  ]
  const { gone, kept, decision } = decide(chain)
  t.deepEqual(gone, [])
  t.deepEqual(kept, ['4: newest', '3: count', '2: base', '1: base'])
  t.regex(decision.keep[3]?.why ?? '', /^[234] is restored from it$/)
})

test('a chain holds together as well when each point names only the one before it', (t) => {
  const chain = [point(1), point(2, { bases: ['1'] }), point(3, { bases: ['2'] }), point(4, { bases: ['3'] })]
  t.deepEqual(decide([...chain, point(5)]).kept, ['5: newest', '4: count', '3: base', '2: base', '1: base'])
  t.deepEqual(
    decide([...chain, ...days(5, 6)]).gone,
    ['4', '3', '2', '1'].map((id) => `${id}: superseded`),
  )
  const damaged = [point(1, { damaged: true }), ...chain.slice(1)]
  t.true(decide(damaged).kept.includes('4: unreplaced'))
})

test('a chain that nothing needs goes from its end', (t) => {
  // By their dates the base would come first.
  const old = [point(3), point(2, { bases: ['3'] }), point(1, { bases: ['3', '2'] })]
  t.deepEqual(decide([...old, ...days(8, 9)]).gone, ['1: superseded', '2: superseded', '3: superseded'])
})

test('a point whose base is lost or damaged is not good, and neither is what says that it is damaged', (t) => {
  const lost = point(4, { bases: ['0'] })
  t.deepEqual(decide([...days(1, 3), lost]).gone, [])
  t.deepEqual(decide([...days(1, 3), point(4, { damaged: true })]).gone, [])
  const damagedBase = [point(1, { damaged: true }), point(2, { bases: ['1'] })]
  t.deepEqual(decide([...damagedBase, ...days(3, 4)]).gone, ['2: incomplete', '1: incomplete'])
  t.deepEqual(decide([...damagedBase, point(3)]).kept, ['3: newest', '2: unreplaced', '1: unreplaced'])
})

test('chains that go in circles are nothing to restore from', (t) => {
  const circle = [point(1, { bases: ['2'] }), point(2, { bases: ['1'] })]
  t.deepEqual(decide([...circle, ...days(3, 4)]).gone.length, 2)
  t.deepEqual(decide(circle).gone, [])
})

test('points dated after now stay and count for nothing', (t) => {
  const future = point(9, { takenAtMs: NOW + DAY_MS })
  t.deepEqual(decide([...days(1, 3), future]).kept, ['9: future', '3: newest', '2: count'])
  const failed = { ...future, status: 'failed' } as const
  t.deepEqual(decide([...days(1, 3), failed]).gone, ['1: superseded'])
})

test('days, weeks from Monday and months keep their newest good point, beside what is counted', (t) => {
  // 15, 22 and 29 April 2024 are Mondays.
  const march = point(0, { id: 'march', takenAtMs: Date.UTC(2024, 2, 20) })
  const { kept } = decide([march, ...days(1, 30)], { keep: { daily: 4, weekly: 3, monthly: 2 } })
  t.deepEqual(kept, ['30: newest', '29: count', '28: daily', '27: daily', '21: weekly', 'march: monthly'])
})

test('with keep alone, its periods and the newest two stay', (t) => {
  const twice = [...days(1, 3), point(3, { id: 'late', takenAtMs: Date.UTC(2024, 3, 3, 20) })]
  t.deepEqual(decide(twice, { retention: 0, keep: { monthly: 1 } }).kept, ['late: newest', '3: count'])
  t.deepEqual(decide(twice, { retention: 0, keep: { daily: 2 } }).kept, ['late: newest', '3: count', '2: daily'])
})

test('only good points stand for their day', (t) => {
  const points = [point(1), point(2), point(2, { id: 'later', status: 'partial', takenAtMs: Date.UTC(2024, 3, 2, 20) })]
  t.true(decide([...points, ...days(3, 6)], { keep: { daily: 5 } }).kept.includes('2: daily'))
})

test('a month without runs takes nothing away', (t) => {
  t.deepEqual(decide([...days(1, 3), point(29)], { keep: { daily: 4 } }).gone, [])
})

test('a day is that of the zone of the schedule', (t) => {
  const evening = point(1, { id: 'evening', takenAtMs: Date.UTC(2024, 3, 1, 22) })
  const midnight = point(1, { id: 'midnight', takenAtMs: Date.UTC(2024, 3, 2, 1) })
  const points = [evening, midnight, ...days(3, 5)]
  t.deepEqual(decide(points, { keep: { daily: 5 } }).gone, [])
  t.deepEqual(decide(points, { keep: { daily: 5 }, timezone: 'Asia/Tokyo' }).gone, ['evening: superseded'])
})

test('nothing, or nothing good, is left alone', (t) => {
  t.deepEqual(decide([]).decision, { delete: [], keep: [] })
  t.deepEqual(decide([1, 2, 3].map((day) => point(day, { status: 'failed' }))).gone, [])
})
