import test from 'ava'
import { keepPulling, type Pull } from './keep-pulling.ts'

/** Statuses that come when they are pushed, and end with `stop`. */
function source() {
  const waiting: ((done: boolean) => void)[] = []
  const queue: string[] = []
  let ended = false
  const wake = () => waiting.splice(0).forEach((resolve) => void resolve(true))
  const pull: Pull = {
    stop() {
      ended = true
      wake()
    },
    async *status() {
      while (!ended || queue.length > 0) {
        const type = queue.shift()
        if (type !== undefined) yield { type }
        else await new Promise((resolve) => waiting.push(resolve))
      }
    },
  }
  const push = (type: string) => {
    queue.push(type)
    wake()
  }
  return { pull, push }
}

test('stopped while a pull is being opened, it ends, and that pull too', async (t) => {
  const opening = Promise.withResolvers<Pull>()
  const { pull } = source()
  const pulling = keepPulling({ open: () => opening.promise, connection: source().pull, onLost: () => t.fail() })
  const stopped = pulling.stop()
  opening.resolve(pull)
  await stopped
  t.is(pulling.healthySinceMs(), undefined)
})

test('after a lost consumer and after every reconnect the pull is opened anew', async (t) => {
  const connection = source()
  const opened: ReturnType<typeof source>[] = []
  const next = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const pulling = keepPulling({
    connection: connection.pull,
    onLost: () => t.fail(),
    async open() {
      const fresh = source()
      opened.push(fresh)
      next[opened.length - 1]?.resolve()
      return fresh.pull
    },
  })
  await next[0]?.promise
  opened[0]?.push('consumer_not_found')
  await next[1]?.promise
  await new Promise(setImmediate)
  t.true((pulling.healthySinceMs() ?? 0) > 0)
  connection.push('disconnect')
  await new Promise(setImmediate)
  t.is(pulling.healthySinceMs(), undefined)
  connection.push('reconnect')
  await next[2]?.promise
  await pulling.stop()
  t.is(opened.length, 3)
})
