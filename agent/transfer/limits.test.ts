import test from 'ava'
import { FleetError } from '../../shared/errors.ts'
import { TargetLimits } from '../../shared/target-config.ts'
import { rateAt, Throttle, TokenBucket } from './bandwidth.ts'
import type { Clock } from './clock.ts'
import { retry } from './retry.ts'
import { Slots } from './slots.ts'

const { signal } = new AbortController()
const MIB = 2 ** 20

/** Sleeping is all that moves its time. */
function fakeClock(startMs: number): Clock & { readonly slept: number[] } {
  let now = startMs
  const slept: number[] = []
  const sleep = async (ms: number) => {
    now += ms
    slept.push(ms)
  }
  return { now: () => now, sleep, slept }
}

test('bytes pass at the rate that is allowed, whatever the size of the chunks', async (t) => {
  for (const chunk of [MIB / 16, MIB, 8 * MIB]) {
    const clock = fakeClock(0)
    const throttle = new Throttle(TargetLimits.parse({ bytesPerSecond: MIB }), clock)
    for (let sent = 0; sent < 64 * MIB; sent += chunk) await throttle.pass(chunk, signal)
    await throttle.pass(1, signal)
    t.true(Math.abs(clock.now() - 64_000) < 600, `${chunk}: ${clock.now()} ms`)
  }
})

test('what was not used for a while is not made up for', (t) => {
  const bucket = new TokenBucket(0)
  t.is(bucket.waitMs(1000, 3_600_000), 0)
  bucket.take(1000)
  t.is(bucket.waitMs(1000, 3_600_000), 750)
})

test('windows are local times of their days, over midnight too', (t) => {
  const limits = TargetLimits.parse({
    bytesPerSecond: 10_000,
    timezone: 'Europe/Berlin',
    windows: [
      { days: [1, 2, 3, 4, 5], from: '08:00', to: '18:00', bytesPerSecond: 2_000 },
      { days: [5], from: '22:00', to: '06:00' },
    ],
  })
  const at = (time: string) => rateAt(limits, new Date(time))
  t.is(at('2026-11-18T07:30:00Z'), 2_000, 'Wednesday, half past eight in Berlin')
  t.is(at('2026-11-18T06:59:00Z'), 10_000)
  t.is(at('2026-11-18T17:00:00Z'), 10_000, 'the end is not in the window')
  t.is(at('2026-11-20T21:30:00Z'), undefined, 'Friday, half past ten')
  t.is(at('2026-11-21T04:30:00Z'), undefined, 'Saturday, half past five')
  t.is(at('2026-11-21T05:30:00Z'), 10_000)
  t.is(at('2026-07-15T06:30:00Z'), 2_000, 'summer time')
})

test('a window that begins while somebody waits ends the wait', async (t) => {
  const clock = fakeClock(Date.parse('2026-11-18T23:59:55Z'))
  const windows = [{ days: [4], from: '00:00', to: '06:00' }]
  const throttle = new Throttle(TargetLimits.parse({ bytesPerSecond: 1024, windows }), clock)
  await throttle.pass(1024 * 1024, signal)
  await throttle.pass(1024, signal)
  t.true(clock.now() < Date.parse('2026-11-19T00:00:02Z'))
})

test('slots are given in order, and a cancelled wait holds none', async (t) => {
  const slots = new Slots(1)
  const first = await slots.take(signal)
  const stopped = new AbortController()
  const cancelled = slots.take(stopped.signal)
  const second = slots.take(signal)
  stopped.abort()
  await t.throwsAsync(cancelled, { code: 'cancelled' })
  first()
  first()
  const release = await second
  let third = false
  const waiting = slots.take(signal).then((end) => {
    third = true
    end()
  })
  await Promise.resolve()
  t.false(third)
  release()
  await waiting
})

test('only what may be well later is tried again, within bounds and with jitter', async (t) => {
  for (const [code, attempts] of [
    ['unavailable', 4],
    ['busy', 4],
    ['timeout', 4],
    ['refused', 1],
    ['no_space', 1],
  ] as const) {
    const clock = fakeClock(0)
    let tried = 0
    const policy = { attempts: 4, baseMs: 100, maxMs: 250, clock, random: () => 0.5 }
    const work = async () => {
      tried += 1
      throw new FleetError(code, 'no')
    }
    await t.throwsAsync(retry(policy, signal, work), { code })
    t.is(tried, attempts)
    t.deepEqual(clock.slept, attempts === 1 ? [] : [50, 100, 125])
  }
})
