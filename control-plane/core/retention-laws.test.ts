import test from 'ava'
import fc from 'fast-check'
import { decideRetention, type RetentionPoint, type RetentionQuestion } from './retention.ts'

const HOUR_MS = 3_600_000
const NOW = Date.UTC(2024, 4, 1)
const RUNS = { seed: 36, numRuns: 1000 }

/** Histories of up to 40 runs, hours to days apart, of which increments complete what went before, mostly. */
const history = fc
  .array(
    fc.record({
      status: fc.constantFrom('good', 'good', 'good', 'good', 'partial', 'failed', 'running'),
      damaged: fc.integer({ min: 0, max: 15 }).map((n) => n === 0),
      pinned: fc.integer({ min: 0, max: 7 }).map((n) => n === 0),
      inUse: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
      ageHours: fc.integer({ min: -30, max: 60 * 24 }),
      base: fc.option(fc.nat(45), { nil: undefined }),
    }),
    { maxLength: 40, size: 'max' },
  )
  .map((runs) => {
    const points: RetentionPoint[] = []
    for (const [n, { ageHours, base, status, ...flags }] of runs.entries()) {
      // Beyond the runs there are: a base that is lost.
      const parent = base === undefined ? undefined : points[base]
      const bases =
        parent === undefined ? (base !== undefined && base > 42 ? ['lost'] : []) : [...parent.bases, parent.id]
      points.push({ id: `p${n}`, takenAtMs: NOW - ageHours * HOUR_MS, bases, ...flags, status: status as 'good' })
    }
    return points
  })
const periods = fc.integer({ min: 0, max: 8 })
const keep = fc.option(fc.record({ daily: periods, weekly: periods, monthly: periods }), { nil: undefined })
const retention = fc.constantFrom(0, 2, 2, 3, 5, 20)
const question: fc.Arbitrary<RetentionQuestion> = fc.record({
  points: history,
  retention,
  keep,
  timezone: fc.constantFrom('UTC', 'America/New_York', 'Asia/Kathmandu'),
  nowMs: fc.constant(NOW),
})

const goneOf = (asked: RetentionQuestion) => decideRetention(asked).delete.map(({ id }) => id)
const without = (points: readonly RetentionPoint[], gone: readonly string[]) =>
  points.filter(({ id }) => !gone.includes(id))

/** Restorable by the words of the points alone. */
function canRestore(points: readonly RetentionPoint[], point: RetentionPoint): boolean {
  const members = [point, ...point.bases.map((id) => points.find((other) => other.id === id))]
  return members.every((member) => member?.status === 'good' && !member.damaged)
}
const restorable = (points: readonly RetentionPoint[]) => points.filter((point) => canRestore(points, point))

function law(what: string, holds: (asked: RetentionQuestion) => boolean): void {
  test(what, (t) => {
    t.notThrows(() => fc.assert(fc.property(question, holds), RUNS))
  })
}

law('every point is told once, kept or deleted, with a reason', (asked) => {
  const decision = decideRetention(asked)
  const told = [...decision.delete, ...decision.keep]
  const ids = told.map(({ id }) => id).toSorted()
  return (
    ids.join() ===
      asked.points
        .map(({ id }) => id)
        .toSorted()
        .join() && told.every(({ why }) => why.length > 5 && !/undefined|Infinity/.test(why))
  )
})

law('the newest point that can be restored is never deleted, nor are fewer than two left of two', (asked) => {
  const before = restorable(asked.points).toSorted((a, b) => b.takenAtMs - a.takenAtMs)
  const after = restorable(without(asked.points, goneOf(asked)))
  const newest = before[0]
  const stays = newest === undefined || after.some(({ takenAtMs }) => takenAtMs === newest.takenAtMs)
  return stays && after.length >= Math.min(before.length, 2)
})

law('what stays can be restored if it could before, after every single deletion', (asked) => {
  const could = new Set(restorable(asked.points).map(({ id }) => id))
  const gone = goneOf(asked)
  return gone.every((_, n) => {
    const left = without(asked.points, gone.slice(0, n + 1))
    const can = new Set(restorable(left).map(({ id }) => id))
    return left.every(({ id }) => !could.has(id) || can.has(id))
  })
})

law('as many good points stay as the retention says', (asked) => {
  const past = (points: readonly RetentionPoint[]) => restorable(points).filter(({ takenAtMs }) => takenAtMs <= NOW)
  const before = past(asked.points).length
  const after = past(without(asked.points, goneOf(asked))).length
  const unlimited = asked.retention === 0 && Object.values(asked.keep ?? {}).every((count) => count === 0)
  return unlimited ? after === before : after >= Math.min(before, asked.retention)
})

law('nothing that is pinned, in use or being made goes', (asked) => {
  const gone = new Set(goneOf(asked))
  return asked.points.every(
    (point) => !gone.has(point.id) || !(point.pinned || point.inUse || point.status === 'running'),
  )
})

law('nothing goes unless the newest run was good', (asked) => {
  const ended = asked.points.filter(({ status, takenAtMs }) => status !== 'running' && takenAtMs <= NOW)
  const newestMs = Math.max(...ended.map(({ takenAtMs }) => takenAtMs))
  const newest = ended.filter(({ takenAtMs }) => takenAtMs === newestMs)
  const wasGood = newest.some((point) => canRestore(asked.points, point))
  return (wasGood || goneOf(asked).length === 0) && goneOf({ ...asked, newestRunGood: false }).length === 0
})

law('once what it says is deleted, it says nothing more; deleted in part, it says the rest', (asked) => {
  const gone = goneOf(asked)
  const half = gone.slice(0, gone.length / 2)
  const rest = goneOf({ ...asked, points: without(asked.points, half) })
  return (
    goneOf({ ...asked, points: without(asked.points, gone) }).length === 0 &&
    rest.toSorted().join() === gone.slice(half.length).toSorted().join()
  )
})

law('the order in which points are given does not matter', (asked) => {
  const turned = decideRetention({ ...asked, points: asked.points.toReversed() })
  const same = (a: readonly { id: string; rule: string }[], b: readonly { id: string; rule: string }[]) => {
    const told = (list: typeof a) =>
      list
        .map(({ id, rule }) => `${id} ${rule}`)
        .toSorted()
        .join()
    return told(a) === told(b)
  }
  const decision = decideRetention(asked)
  return same(decision.delete, turned.delete) && same(decision.keep, turned.keep)
})

law('more kept by any rule, a pin or a use never deletes more', (asked) => {
  const gone = new Set(goneOf(asked))
  const { daily = 0, weekly = 0, monthly = 0 } = asked.keep ?? {}
  const byPeriods = daily + weekly + monthly > 0
  const more: RetentionQuestion[] = [
    { ...asked, points: asked.points.map((point, n) => (n % 3 === 0 ? { ...point, pinned: true } : point)) },
    { ...asked, points: asked.points.map((point, n) => (n % 3 === 1 ? { ...point, inUse: true } : point)) },
    ...(asked.retention === 0
      ? []
      : [
          { ...asked, retention: asked.retention + 1 },
          { ...asked, retention: 0, keep: undefined },
        ]),
    ...(asked.retention > 0 || byPeriods
      ? [
          { ...asked, keep: { daily: daily + 1, weekly, monthly } },
          { ...asked, keep: { daily, weekly: weekly + 1, monthly } },
          { ...asked, keep: { daily, weekly, monthly: monthly + 1 } },
        ]
      : []),
  ]
  return more.every((other) => goneOf(other).every((id) => gone.has(id)))
})

test('histories of the laws do delete, so that they are about something', (t) => {
  const counts = fc.sample(question, RUNS).map((asked) => goneOf(asked).length)
  t.true(counts.filter((count) => count > 0).length > RUNS.numRuns / 4)
  t.true(counts.some((count) => count > 10))
})
