import test from 'ava'
import { startStopwatch } from './stopwatch.ts'

test('what took too long has not kept a promise, unless it was this process that was kept from its processor', async (t) => {
  t.false(startStopwatch().within(0))
  const stopwatch = startStopwatch()
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400)
  await new Promise((resolve) => setTimeout(resolve, 40))
  t.true(stopwatch.within(300), `${stopwatch}`)
})
