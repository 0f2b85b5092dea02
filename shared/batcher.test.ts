import test from 'ava'
import { createBatcher } from './batcher.ts'
import { FleetError } from './errors.ts'

function open(work: (items: readonly number[]) => Promise<readonly (number | FleetError)[]>, maxWaiting = 100) {
  const groups: number[][] = []
  const add = createBatcher<number, number>({
    maxItems: 10,
    maxWaiting,
    mayRetry: (error) => String(error).includes('poison'),
    work: (items) => {
      groups.push([...items])
      return work(items)
    },
  })
  return { groups, add }
}

test('what comes together is worked on together, in order and within the bound', async (t) => {
  const { groups, add } = open(async (items) => items.map((item) => item * 2))
  const answers = await Promise.all(Array.from({ length: 25 }, (_, n) => add(n)))
  t.deepEqual(
    answers,
    Array.from({ length: 25 }, (_, n) => n * 2),
  )
  t.deepEqual(
    groups.map((group) => group.length),
    [10, 10, 5],
  )
})

test('an item that is refused refuses nobody else', async (t) => {
  const { add } = open(async (items) => items.map((item) => (item === 2 ? new FleetError('exists', 'two') : item)))
  const answers = await Promise.allSettled([add(1), add(2), add(3)])
  t.deepEqual(
    answers.map((answer) => answer.status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
})

test('when a group breaks its items are tried alone, and only the guilty one fails', async (t) => {
  const { add } = open(async (items) => {
    if (items.includes(2)) throw new Error('poison')
    return items
  })
  const answers = await Promise.allSettled([add(1), add(2), add(3)])
  t.deepEqual(
    answers.map((answer) => answer.status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
})

test('a group that may have been done is not done again', async (t) => {
  const { groups, add } = open(async () => {
    throw new Error('connection lost')
  })
  await Promise.allSettled([add(1), add(2), add(3)])
  t.deepEqual(groups, [[1, 2, 3]])
})

test('too many waiting is busy, at once', async (t) => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const { add } = open(async (items) => {
    await promise
    return items
  }, 2)
  const accepted = [add(1), add(2)]
  await t.throwsAsync(add(3), { name: 'FleetError', message: /too many/ })
  resolve()
  t.deepEqual(await Promise.all(accepted), [1, 2])
})
