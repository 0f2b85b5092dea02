import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises'
import { FleetError } from './errors.ts'

interface Waiting<Item, Answer> {
  readonly item: Item
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
}

/**
 * Group commit: what arrives while one group is being worked on forms the next. One item alone waits for nobody; while
 * several come at a time, the next group gathers for `gatherMs`, because a few large groups cost less than many small ones.
 * `work` answers in the sequence of its items; when a whole group fails and `mayRetry`
 * says that nothing of it was done, its items are tried one by one, so that only the guilty one fails.
 */
export function createBatcher<Item, Answer>(options: {
  readonly maxItems: number
  readonly maxWaiting: number
  readonly gatherMs?: number
  readonly mayRetry: (error: unknown) => boolean
  readonly work: (items: readonly Item[]) => Promise<readonly (Answer | FleetError)[]>
}): (item: Item) => Promise<Answer> {
  let waiting: Waiting<Item, Answer>[] = []
  let working = false

  async function runGroup(group: readonly Waiting<Item, Answer>[]): Promise<void> {
    try {
      const answers = await options.work(group.map((entry) => entry.item))
      for (const [n, entry] of group.entries()) settle(entry, answers[n])
    } catch (error) {
      if (group.length > 1 && options.mayRetry(error)) for (const entry of group) await runGroup([entry])
      else for (const entry of group) entry.reject(error)
    }
  }

  async function drain(): Promise<void> {
    working = true
    let isBusy = false
    while (waiting.length > 0) {
      await (isBusy && options.gatherMs !== undefined ? delay(options.gatherMs) : turn())
      isBusy = waiting.length > 1
      const group = waiting.slice(0, options.maxItems)
      waiting = waiting.slice(options.maxItems)
      await runGroup(group)
    }
    working = false
  }

  return (item) =>
    new Promise((resolve, reject) => {
      if (waiting.length >= options.maxWaiting) {
        reject(new FleetError('busy', 'too many requests are waiting; try again'))
        return
      }
      waiting.push({ item, resolve, reject })
      if (!working) void drain()
    })
}

function settle<Item, Answer>(entry: Waiting<Item, Answer>, answer: Answer | FleetError | undefined): void {
  if (answer instanceof FleetError) entry.reject(answer)
  else if (answer === undefined) entry.reject(new Error('a group of work left an item unanswered'))
  else entry.resolve(answer)
}
