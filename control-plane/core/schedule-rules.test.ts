import test from 'ava'
import { duesBetween, type Recurrence } from './recurrence.ts'
import { type ActiveRun, type DueRow, decideDue, MAX_WAIT_MS } from './schedule-due.ts'
import { type EndedRun, endOfRun } from './schedule-ends.ts'
import { grantSlots, type PlaceLoad } from './schedule-slots.ts'

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000
const daily: Recurrence = { repeat: 'daily', startSeconds: 7200, timezone: 'UTC' }
const first = Date.UTC(2026, 2, 2, 2)
const question = { recurrence: daily, ledgerMs: first - HOUR_MS, jitterMs: 0, nowMs: first, active: undefined }

test('the newest instant waits to be fired, those before it were missed', (t) => {
  const { rows, ledgerMs, nextDueMs } = decideDue({ ...question, nowMs: first + 2 * DAY_MS + 1 })
  t.deepEqual(
    rows.map((row) => [row.dueMs, row.state === 'ended' ? row.outcome : row.state]),
    [
      [first, 'missed'],
      [first + DAY_MS, 'missed'],
      [first + 2 * DAY_MS, 'waiting'],
    ],
  )
  t.is(ledgerMs, first + 2 * DAY_MS)
  t.is(nextDueMs, first + 3 * DAY_MS)
})

test('a run waits until the next instant, and a day at most', (t) => {
  const expiry = (recurrence: Recurrence, jitterMs = 0, nowMs = first) =>
    decideDue({ ...question, recurrence, jitterMs, nowMs }).rows[0]?.expiresMs
  t.is(expiry(daily), first + DAY_MS)
  t.is(expiry(daily, 60_000, first + 60_000), first + DAY_MS + 60_000)
  t.is(expiry({ repeat: 'weekly', days: [1], startSeconds: 7200, timezone: 'UTC' }), first + MAX_WAIT_MS)
  t.is(expiry({ repeat: 'oneshot', instantMs: first }), first + MAX_WAIT_MS)
  t.is(expiry({ repeat: 'oneshot', instantMs: first }, 0, first + HOUR_MS), first + HOUR_MS + MAX_WAIT_MS)
})

test('jitter delays the firing and leaves the instant where it is', (t) => {
  t.deepEqual(decideDue({ ...question, jitterMs: 60_000 }).rows, [])
  t.is(decideDue({ ...question, jitterMs: 60_000, nowMs: first + 60_000 }).rows[0]?.dueMs, first)
})

test('a run under way is not disturbed; one that has waited too long makes room', (t) => {
  const active: ActiveRun = { id: 'r', isWaiting: true, expiresMs: first + 1, reason: "host 'a' was offline" }
  const of = (changed: Partial<ActiveRun>) => decideDue({ ...question, active: { ...active, ...changed } })
  t.like(of({}).rows[0], { outcome: 'skipped', reason: "the run before still waited: host 'a' was offline" })
  t.like(of({ isWaiting: false, expiresMs: 0 }).rows[0], { outcome: 'skipped' })
  const over = of({ expiresMs: first })
  t.is(over.rows[0]?.state, 'waiting')
  t.deepEqual(over.expire, { id: 'r', reason: "host 'a' was offline, until it was too late" })
})

test('however the clock steps forward, every instant has one row', (t) => {
  const zones = ['UTC', 'Europe/Berlin', 'Asia/Kolkata', 'America/New_York']
  for (const [n, timezone] of zones.entries()) {
    const recurrence: Recurrence = { repeat: 'weekly', days: [0, 1, 3, 6], startSeconds: 9_000, timezone }
    const fromMs = Date.UTC(2026, 0, 1)
    let seed = n + 1
    let nowMs = fromMs
    let ledgerMs = fromMs
    const rows: DueRow[] = []
    while (nowMs < fromMs + 400 * DAY_MS) {
      seed = (seed * 48_271) % 2_147_483_647
      nowMs += seed % (seed % 5 === 0 ? 20 * DAY_MS : 9 * HOUR_MS)
      const decision = decideDue({ recurrence, ledgerMs, jitterMs: 0, nowMs, active: undefined })
      rows.push(...decision.rows)
      ledgerMs = decision.ledgerMs
    }
    t.deepEqual(
      rows.map(({ dueMs }) => dueMs),
      duesBetween(recurrence, fromMs, nowMs, 10_000),
    )
  }
})

const job = { state: 'succeeded', error: null } as const
const ended: EndedRun = {
  job,
  problemCount: 0,
  wantsVerification: false,
  verification: null,
  isStopped: false,
  trigger: 'due',
  lateMs: 1_000,
  graceMs: 60_000,
}

test('how a run ended is told by its job, its point and its verification', (t) => {
  const outcome = (changed: Partial<EndedRun>) => {
    const end = endOfRun({ ...ended, ...changed })
    return end === 'verify' ? end : `${end.outcome} ${end.result}`
  }
  const cancelled = { state: 'cancelled', error: null } as const
  const failed = { state: 'failed', error: { message: 'x' } } as const
  t.is(outcome({}), 'ran 0')
  t.is(outcome({ lateMs: 60_001 }), 'late 0')
  t.is(outcome({ lateMs: 60_001, trigger: 'manual' }), 'ran 0')
  t.is(outcome({ job: failed }), 'failed -1')
  t.is(outcome({ job: null }), 'failed -1')
  t.is(outcome({ job: cancelled }), 'stopped -2')
  t.is(outcome({ problemCount: 1 }), 'failed -1')
  t.is(outcome({ isStopped: true }), 'ran 0')
  const wantsVerification = true
  t.is(outcome({ wantsVerification }), 'verify')
  t.is(outcome({ wantsVerification, problemCount: 1 }), 'failed -1')
  t.is(outcome({ wantsVerification, isStopped: true }), 'stopped -2')
  t.is(outcome({ wantsVerification, verification: job }), 'ran 0')
  t.is(outcome({ wantsVerification, verification: failed }), 'failed -1')
  t.is(outcome({ wantsVerification, verification: cancelled }), 'stopped -2')
})

test('slots go to those that wait the longest, as far as host and target have them', (t) => {
  const load = (host: string, place: string, given: Partial<PlaceLoad>): PlaceLoad => ({
    ...{ host, place, waiting: 0, oldestMs: 0, busy: 0 },
    ...given,
  })
  const granted = (...loads: PlaceLoad[]) =>
    grantSlots(loads, { perHost: 4, perTarget: 3 }, (host) => host !== 'away').grants.map(
      ({ host, place, count }) => `${host} ${place} ${count}`,
    )
  t.deepEqual(granted(load('a', 'local', { waiting: 9 })), ['a local 4'])
  t.deepEqual(granted(load('a', 't', { waiting: 9 })), ['a t 3'])
  t.deepEqual(granted(load('a', 'local', { waiting: 9, busy: 4 })), [])
  t.deepEqual(granted(load('away', 'local', { waiting: 9 })), [])
  t.deepEqual(granted(load('', 'local', { waiting: 9, busy: 400 })), [' local 9'])
  t.deepEqual(
    granted(
      load('a', 't', { waiting: 2, oldestMs: 3 }),
      load('b', 't', { waiting: 2, oldestMs: 2 }),
      load('a', 'local', { waiting: 1, oldestMs: 1, busy: 2 }),
    ),
    ['a local 1', 'b t 2', 'a t 1'],
  )
  // Runs of a host that fell silent wait for it as long as it takes, and keep nobody else from their target meanwhile.
  t.deepEqual(granted(load('away', 't', { busy: 3 }), load('a', 't', { waiting: 4, busy: 1 })), ['a t 2'])
})
