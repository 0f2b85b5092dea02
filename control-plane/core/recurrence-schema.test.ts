import test from 'ava'
import { FleetError } from '../../shared/errors.ts'
import { checkRequest } from './check-request.ts'
import { type At, atSchema, recurrenceOf, type StartUnit } from './recurrence-schema.ts'

const check = (at: unknown, startUnit: StartUnit = 'seconds'): At => checkRequest(atSchema(startUnit), at)
const SERVER = { startUnit: 'seconds', timezone: 'Europe/Berlin' } as const

test('what a client writes is kept as it is, members that we do not know among it', (t) => {
  const written = [
    { repeat: 'daily', start: 60, times: 2 },
    { repeat: 'daily', start: 0, timezone: 'Pacific/Chatham', keep: { daily: 7, weekly: 4, monthly: 12 } },
    { repeat: 'weekly', start: 86_399, days: [6, 0, 0], note: { deep: [null] } },
    { repeat: 'monthly', start: 60, days: [31, 1] },
    { repeat: 'oneshot', start: 0 },
    { repeat: 'oneshot', start: 1_800_000_000, days: 'not for a oneshot' },
  ]
  for (const at of written) t.deepEqual(check(at) as unknown, at)
})

test("a start is seconds after midnight in the server's zone unless the schedule names one", (t) => {
  t.deepEqual(recurrenceOf(check({ repeat: 'daily', start: 60 }), SERVER), {
    repeat: 'daily',
    startSeconds: 60,
    timezone: 'Europe/Berlin',
  })
  t.deepEqual(recurrenceOf(check({ repeat: 'weekly', start: 1, days: [0], timezone: 'Asia/Kolkata' }), SERVER), {
    repeat: 'weekly',
    startSeconds: 1,
    timezone: 'Asia/Kolkata',
    days: [0],
  })
})

test('where a start is minutes, a day has 1440 of them, and the instant of a oneshot is seconds all the same', (t) => {
  const server = { startUnit: 'minutes', timezone: 'UTC' } as const
  t.like(recurrenceOf(check({ repeat: 'daily', start: 60 }, 'minutes'), server), { startSeconds: 3600 })
  t.like(recurrenceOf(check({ repeat: 'monthly', start: 1439, days: [1] }, 'minutes'), server), {
    startSeconds: 86_340,
  })
  t.deepEqual(recurrenceOf(check({ repeat: 'oneshot', start: 90_000 }, 'minutes'), server), {
    repeat: 'oneshot',
    instantMs: 90_000_000,
  })
  t.throws(() => check({ repeat: 'daily', start: 1440 }, 'minutes'), { message: /^start: .*whole minutes.*0 to 1439/ })
})

const daily = { repeat: 'daily', start: 0 }
const refused: readonly [at: unknown, field: string, message: RegExp][] = [
  [undefined, '', /daily, weekly, monthly, oneshot/],
  ['daily', '', /daily, weekly, monthly, oneshot/],
  [{ start: 0 }, 'repeat', /daily, weekly, monthly, oneshot/],
  [{ repeat: 'hourly', start: 0 }, 'repeat', /daily, weekly, monthly, oneshot/],
  [{ repeat: 'daily' }, 'start', /whole seconds after 00:00, from 0 to 86399/],
  [{ ...daily, start: -1 }, 'start', /from 0 to 86399/],
  [{ ...daily, start: 86_400 }, 'start', /from 0 to 86399/],
  [{ ...daily, start: 1.5 }, 'start', /from 0 to 86399/],
  [{ ...daily, start: '60' }, 'start', /from 0 to 86399/],
  [{ ...daily, timezone: 'Mars/Olympus' }, 'timezone', /Europe\/Berlin/],
  [{ ...daily, timezone: '+02:00' }, 'timezone', /Europe\/Berlin/],
  [{ ...daily, timezone: '' }, 'timezone', /Europe\/Berlin/],
  [{ ...daily, timezone: 7 }, 'timezone', /Europe\/Berlin/],
  [{ repeat: 'weekly', start: 0 }, 'days', /list of days of the week/],
  [{ repeat: 'weekly', start: 0, days: [] }, 'days', /at least one/],
  [{ repeat: 'weekly', start: 0, days: [0, 7] }, 'days.1', /from 0 to 6/],
  [{ repeat: 'weekly', start: 0, days: Array(8).fill(0) }, 'days', /longer than 7/],
  [{ repeat: 'monthly', start: 0, days: [0] }, 'days.0', /from 1 to 31/],
  [{ repeat: 'monthly', start: 0, days: [32] }, 'days.0', /from 1 to 31/],
  [{ repeat: 'oneshot', start: 1_800_000_000_000 }, 'start', /whole seconds since 1970/],
  [{ ...daily, keep: {} }, 'keep', /keep something/],
  [{ ...daily, keep: { daily: 0 } }, 'keep', /keep something/],
  [{ ...daily, keep: { daily: 7, yearly: 2 } }, 'keep', /not yearly/],
  [{ ...daily, keep: { weekly: -1 } }, 'keep.weekly', /from 0 to 10000/],
  [{ ...daily, keep: 7 }, 'keep', /daily, weekly or monthly/],
]

for (const [at, field, message] of refused) {
  test(`refused, naming the field: ${JSON.stringify(at)}`, (t) => {
    const error = t.throws(() => check(at), { instanceOf: FleetError, message })
    t.is(error.code, 'invalid')
    t.true(error.message.startsWith(`${field}: `), error.message)
  })
}
