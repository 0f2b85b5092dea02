import test from 'ava'
import { newId } from '../ids.ts'
import { workMessageId } from './messages.ts'

test('messages have one id only when they hold the same orders', (t) => {
  const [a, b, c] = [newId(), newId(), newId()].map((jobId) => ({ jobId, attempt: 1 }))
  if (!a || !b || !c) return t.fail()
  t.is(workMessageId('h', [a, b]), workMessageId('h', [a, b]))
  const others = [[a, c], [a], [a, b, c], [{ ...a, attempt: 2 }, b]]
  for (const orders of others) t.not(workMessageId('h', orders), workMessageId('h', [a, b]))
  t.not(workMessageId('g', [a]), workMessageId('h', [a]))
})
