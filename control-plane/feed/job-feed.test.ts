import test from 'ava'
import { createLogger } from '../../shared/logger.ts'
import { SYSTEM_CALLER } from '../core/caller.ts'
import type { FeedEvent } from '../core/feed.ts'
import { createJobFeed } from './job-feed.ts'

const event = (seq: number): FeedEvent => ({
  seq,
  type: 'job.running',
  jobId: null,
  groupId: null,
  json: `{"seq":${seq}}`,
})

/** A feed over events that "Postgres" has; `kept` may grow. */
async function open(kept: FeedEvent[]) {
  const store = {
    bounds: async () => ({ head: 0, pruned: 0 }),
    prune: async () => 0,
    after: async (since: number, limit: number) => {
      const events = kept.filter((one) => one.seq > since).slice(0, limit)
      return { events, through: kept.at(-1)?.seq ?? 0 }
    },
  }
  const told: number[] = []
  const logger = createLogger('test', 'error')
  const feed = await createJobFeed({ store, logger, onEvents: (events) => told.push(...events.map((one) => one.seq)) })
  return { feed, told }
}

test('an offer with a gap is read from Postgres, and nothing is lost or told twice', async (t) => {
  const kept = [event(1), event(2), event(3), event(4), event(5)]
  const { feed, told } = await open(kept)
  feed.offer([event(1), event(2), event(5)])
  await feed.catchUp()
  feed.offer([event(3), event(4)])
  t.deepEqual(told, [1, 2, 3, 4, 5])
})

test('who caught up beyond the head of this replica hears nothing twice', async (t) => {
  const kept = [event(1), event(2), event(3)]
  const { feed } = await open(kept)
  feed.offer([event(1)])
  const heard: number[] = []
  const leaving = new AbortController()
  const following = feed.follow({ caller: SYSTEM_CALLER, since: 0, signal: leaving.signal }, (events) => {
    heard.push(...events.map((one) => one.seq))
  })
  await new Promise(setImmediate)
  feed.offer([event(2), event(3)])
  feed.offer([event(4)])
  leaving.abort()
  await following
  t.deepEqual(heard, [1, 2, 3, 4])
})
