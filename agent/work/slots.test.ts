import test from 'ava'
import { createSlots, halfOf } from './slots.ts'

test('never more at one time than there are slots, and everybody gets one in turn', async (t) => {
  const slots = createSlots(3)
  let working = 0
  let most = 0
  const order: number[] = []
  await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      slots.run(async () => {
        working += 1
        most = Math.max(most, working)
        order.push(n)
        await new Promise(setImmediate)
        working -= 1
      }),
    ),
  )
  t.is(most, 3)
  t.deepEqual(
    order,
    order.toSorted((a, b) => a - b),
  )
})

test('work that fails gives its slot back', async (t) => {
  const slots = createSlots(1)
  await t.throwsAsync(slots.run(() => Promise.reject(new Error('x'))))
  t.is(await slots.run(async () => 'next'), 'next')
})

test('what may take long leaves half of the slots to the rest', async (t) => {
  const slots = createSlots(4)
  const long = halfOf(slots, 4)
  const { promise, resolve } = Promise.withResolvers<void>()
  const waiting = Array.from({ length: 10 }, () => long.run(() => promise))
  t.is(await slots.run(async () => 'quick'), 'quick')
  resolve()
  await Promise.all(waiting)
})
