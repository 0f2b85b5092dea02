import { setTimeout as pause } from 'node:timers/promises'
import test from 'ava'
import { abortable } from './abortable.ts'

const failing = () => pause(10).then(() => Promise.reject(new Error('late')))

test('what work comes to, or the reason of an abort before', async (t) => {
  const { signal } = new AbortController()
  t.is(await abortable(Promise.resolve(1), signal), 1)
  await t.throwsAsync(abortable(failing(), signal), { message: 'late' })
  await t.throwsAsync(abortable(pause(1_000), AbortSignal.timeout(10)), { name: 'TimeoutError' })
})

test('what fails behind an abort, which may have been before, is nobody’s', async (t) => {
  const stopping = new AbortController()
  const waiting = abortable(failing(), stopping.signal)
  stopping.abort(new Error('stop'))
  await t.throwsAsync(waiting, { message: 'stop' })
  await t.throwsAsync(abortable(failing(), stopping.signal), { message: 'stop' })
  // An unhandled rejection would end this process.
  await pause(50)
})
