import test from 'ava'
import fc from 'fast-check'
import { duesBetween, firstDue, jitterMs, nextDue, type Recurrence } from './recurrence.ts'

const MANY = 10_000
const HOUR = 3600
const DAY_MS = 86_400_000
const FIRST_OF_2024 = Date.UTC(2023, 11, 30)

type LocalRepeat = { repeat: 'daily' } | { repeat: 'weekly' | 'monthly'; days: number[] }

/** `clock` like `02:30`. */
function recurrence(timezone: string, clock: string, how: LocalRepeat = { repeat: 'daily' }): Recurrence {
  const [hours = 0, minutes = 0] = clock.split(':').map(Number)
  return { timezone, startSeconds: hours * HOUR + minutes * 60, ...how } as Recurrence
}

/** Due instants from `from` to before `to`, both UTC. */
function dues(at: Recurrence, from: string, to: string): string[] {
  const found = duesBetween(at, Date.parse(`${from}Z`) - 1, Date.parse(`${to}Z`) - 1, MANY)
  return found.map((ms) => new Date(ms).toISOString().slice(0, 16))
}

const inspected: readonly [what: string, at: Recurrence, from: string, to: string, expected: string[]][] = [
  [
    'a time that DST skips is due when the clock has jumped',
    recurrence('America/New_York', '02:30'),
    '2024-03-09T00:00',
    '2024-03-12T00:00',
    ['2024-03-09T07:30', '2024-03-10T07:00', '2024-03-11T06:30'],
  ],
  [
    'a time that repeats is due the first time only',
    recurrence('America/New_York', '01:30'),
    '2024-11-02T00:00',
    '2024-11-05T00:00',
    ['2024-11-02T05:30', '2024-11-03T05:30', '2024-11-04T06:30'],
  ],
  [
    'the first time after the gap is due itself, once',
    recurrence('America/New_York', '03:00'),
    '2024-03-10T00:00',
    '2024-03-11T00:00',
    ['2024-03-10T07:00'],
  ],
  [
    'São Paulo skipped midnight',
    recurrence('America/Sao_Paulo', '00:00'),
    '2018-11-03T00:00',
    '2018-11-06T00:00',
    ['2018-11-03T03:00', '2018-11-04T03:00', '2018-11-05T02:00'],
  ],
  [
    'São Paulo had the last hour of a day twice',
    recurrence('America/Sao_Paulo', '23:30'),
    '2019-02-16T12:00',
    '2019-02-18T12:00',
    ['2019-02-17T01:30', '2019-02-18T02:30'],
  ],
  [
    'Cairo skips the first hour of a Friday',
    recurrence('Africa/Cairo', '00:15'),
    '2024-04-25T12:00',
    '2024-04-27T12:00',
    ['2024-04-25T22:00', '2024-04-26T21:15'],
  ],
  [
    'Beirut skips the first hour of a Sunday',
    recurrence('Asia/Beirut', '00:00', { repeat: 'weekly', days: [0] }),
    '2024-03-30T00:00',
    '2024-04-08T00:00',
    ['2024-03-30T22:00', '2024-04-06T21:00'],
  ],
  [
    'Havana has the first hour of a Sunday twice',
    recurrence('America/Havana', '00:30'),
    '2024-11-03T00:00',
    '2024-11-04T12:00',
    ['2024-11-03T04:30', '2024-11-04T05:30'],
  ],
  [
    "Nuuk's evening that the clock jumps over is made up at midnight, and the next one is due as well",
    recurrence('America/Nuuk', '23:30'),
    '2024-03-30T12:00',
    '2024-04-01T12:00',
    ['2024-03-31T01:00', '2024-04-01T00:30'],
  ],
  [
    'Troll moves by two hours',
    recurrence('Antarctica/Troll', '01:30'),
    '2024-03-31T00:00',
    '2024-04-01T00:00',
    ['2024-03-31T01:00', '2024-03-31T23:30'],
  ],
  [
    'Lord Howe moves by half an hour',
    recurrence('Australia/Lord_Howe', '02:15'),
    '2024-10-05T12:00',
    '2024-10-07T00:00',
    ['2024-10-05T15:30', '2024-10-06T15:15'],
  ],
  [
    'Lord Howe repeats half an hour',
    recurrence('Australia/Lord_Howe', '01:45'),
    '2024-04-06T12:00',
    '2024-04-08T00:00',
    ['2024-04-06T14:45', '2024-04-07T15:15'],
  ],
  [
    'Kathmandu is 5:45 ahead',
    recurrence('Asia/Kathmandu', '00:00'),
    '2024-01-01T00:00',
    '2024-01-02T00:00',
    ['2024-01-01T18:15'],
  ],
  [
    'a day that Samoa never had is not due twice an hour apart',
    recurrence('Pacific/Apia', '01:00'),
    '2011-12-29T00:00',
    '2012-01-01T00:00',
    ['2011-12-29T11:00', '2011-12-30T11:00', '2011-12-31T11:00'],
  ],
  [
    'what was due on the day alone that Samoa never had is made up when the next begins',
    recurrence('Pacific/Apia', '01:00', { repeat: 'weekly', days: [5] }),
    '2011-12-22T00:00',
    '2012-01-07T00:00',
    ['2011-12-23T11:00', '2011-12-30T10:00', '2012-01-05T11:00'],
  ],
  [
    'so is what was due monthly on it',
    recurrence('Pacific/Apia', '12:00', { repeat: 'monthly', days: [30] }),
    '2011-11-15T00:00',
    '2012-02-01T00:00',
    ['2011-11-30T22:00', '2011-12-30T10:00', '2012-01-29T22:00'],
  ],
  [
    'a month without the day is due on its last day',
    recurrence('UTC', '04:00', { repeat: 'monthly', days: [31] }),
    '2023-01-01T00:00',
    '2023-07-01T00:00',
    ['2023-01-31', '2023-02-28', '2023-03-31', '2023-04-30', '2023-05-31', '2023-06-30'].map((day) => `${day}T04:00`),
  ],
  [
    'several days that a month lacks make its last day due once',
    recurrence('UTC', '04:00', { repeat: 'monthly', days: [31, 28, 29, 30] }),
    '2023-02-01T00:00',
    '2023-03-02T00:00',
    ['2023-02-28T04:00'],
  ],
  [
    'leap years have a 29 February',
    recurrence('UTC', '04:00', { repeat: 'monthly', days: [29, 30] }),
    '2024-02-01T00:00',
    '2024-03-30T00:00',
    ['2024-02-29T04:00', '2024-03-29T04:00'],
  ],
  [
    'Sunday is day 0',
    recurrence('UTC', '00:00', { repeat: 'weekly', days: [6, 0, 0] }),
    '2024-01-01T00:00',
    '2024-01-15T00:00',
    ['2024-01-06', '2024-01-07', '2024-01-13', '2024-01-14'].map((day) => `${day}T00:00`),
  ],
  [
    'rules go on into years to come',
    recurrence('Europe/Berlin', '02:30'),
    '2090-03-26T00:00',
    '2090-03-27T12:00',
    ['2090-03-26T01:00', '2090-03-27T00:30'],
  ],
]

for (const [what, at, from, to, expected] of inspected) {
  test(what, (t) => {
    t.deepEqual(dues(at, from, to), expected)
  })
}

test('a oneshot is due once; made after its instant, it is due at once', (t) => {
  const at: Recurrence = { repeat: 'oneshot', instantMs: 5000 }
  t.is(nextDue(at, 4999), 5000)
  t.is(nextDue(at, 5000), undefined)
  t.deepEqual(duesBetween(at, 0, 5000, 9), [5000])
  t.deepEqual(duesBetween(at, 5000, 9000, 9), [])
  t.is(firstDue(at, 9000), 5000)
  t.is(firstDue(recurrence('UTC', '00:00'), 0), DAY_MS)
})

test('what is never due ends the search instead of looking for ever', (t) => {
  const at: Recurrence = { repeat: 'weekly', days: [], startSeconds: 0, timezone: 'UTC' }
  t.is(nextDue(at, 0), undefined)
  t.throws(() => firstDue(at, 0), { instanceOf: RangeError })
})

const zones = Intl.supportedValuesOf('timeZone')
const localRepeat = fc.oneof(
  fc.constant({ repeat: 'daily' as const }),
  fc.record({
    repeat: fc.constant('weekly' as const),
    days: fc.uniqueArray(fc.integer({ min: 0, max: 6 }), { minLength: 1 }),
  }),
  fc.record({
    repeat: fc.constant('monthly' as const),
    days: fc.uniqueArray(fc.integer({ min: 1, max: 31 }), { minLength: 1 }),
  }),
)
const anyRecurring = fc
  .record({
    timezone: fc.constantFrom(...zones),
    startSeconds: fc.integer({ min: 0, max: 86_399 }),
    how: localRepeat,
  })
  .map(({ how, ...local }) => ({ ...local, ...how }) as Exclude<Recurrence, { repeat: 'oneshot' }>)

test('in every zone a daily schedule is due once each day of a year, by the clock or just behind a gap', (t) => {
  for (const timezone of zones) {
    const at = recurrence(timezone, '00:30')
    const found = duesBetween(at, FIRST_OF_2024, FIRST_OF_2024 + 369 * DAY_MS, MANY)
    const days = found.map((ms) => new Temporal.ZonedDateTime(BigInt(ms) * 1_000_000n, timezone))
    const year = days.filter((day) => day.year === 2024)
    t.is(year.length, 366, timezone)
    t.is(new Set(year.map((day) => day.toPlainDate().toString())).size, 366, timezone)
    t.true(
      year.every((day) => ['00:30', '01:00'].includes(day.toPlainTime().toString().slice(0, 5))),
      timezone,
    )
  }
})

test('dues rise, stand next to each other in spans cut anywhere, and none is lost when they are asked for one by one', (t) => {
  fc.assert(
    fc.property(
      anyRecurring,
      fc.integer({ min: Date.UTC(1971, 0), max: Date.UTC(2060, 0) }),
      fc.integer({ min: 1, max: 120 * DAY_MS }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (at, fromMs, spanMs, cut) => {
        const toMs = fromMs + spanMs
        const whole = duesBetween(at, fromMs, toMs, MANY)
        t.true(whole.every((ms, n) => ms > (whole[n - 1] ?? fromMs) && ms <= toMs))

        const middle = Math.floor(fromMs + spanMs * cut)
        t.deepEqual([...duesBetween(at, fromMs, middle, MANY), ...duesBetween(at, middle, toMs, MANY)], whole)

        const stepped: number[] = []
        for (let ms = nextDue(at, fromMs); ms !== undefined && ms <= toMs; ms = nextDue(at, ms)) stepped.push(ms)
        t.deepEqual(stepped, whole)
        t.deepEqual(duesBetween(at, fromMs, toMs, 3), whole.slice(0, 3))
      },
    ),
    { seed: 35, numRuns: 300 },
  )
})

test('a job begins always as long after its instant, and many spread evenly', (t) => {
  t.is(jitterMs('7', 60_000), jitterMs('7', 60_000))
  t.is(jitterMs('7', 0), 0)
  const spread = Array.from({ length: 6000 }, (_, n) => jitterMs(`${n}`, 60_000))
  t.true(spread.every((ms) => Number.isInteger(ms) && ms >= 0 && ms < 60_000))
  const minutes = Map.groupBy(spread, (ms) => Math.floor(ms / 10_000))
  for (let n = 0; n < 6; n += 1) t.true(Math.abs((minutes.get(n)?.length ?? 0) - 1000) < 150)
})
