import { FleetError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { type Caller, visibleGroup } from '../core/caller.ts'
import type { Feed, FeedEvent } from '../core/feed.ts'
import type { EventStore } from '../db/stores/event-store.ts'

/** Newest events kept in memory; who is further behind reads Postgres. */
const RING_EVENTS = 8_192
const PAGE_EVENTS = 1_000

/** The feed of one replica: fed by its own folds and, through NOTIFY and a sweep, by what the others committed. */
export interface JobFeed extends Feed {
  /** Events this replica committed itself. Taken as they are when they follow the head, else read from Postgres in order. */
  offer(events: readonly FeedEvent[]): void
  /** Reads from Postgres what the head does not have yet. */
  catchUp(): Promise<void>
}

type Listener = (events: readonly FeedEvent[]) => void

export async function createJobFeed(deps: {
  readonly store: EventStore
  readonly logger: Logger
  /** Sees every event once, in order, before clients do. */
  readonly onEvents: Listener
}): Promise<JobFeed> {
  const { store, logger, onEvents } = deps
  let head = (await store.bounds()).head
  let ring: FeedEvent[] = []
  let ringFrom = head
  let reading: Promise<void> | undefined
  let readAgain = false
  const listeners = new Set<Listener>()

  function append(events: readonly FeedEvent[], newHead: number): void {
    head = newHead
    if (events.length === 0) return
    ring.push(...events)
    if (ring.length > 2 * RING_EVENTS) {
      ring = ring.slice(-RING_EVENTS)
      ringFrom = (ring[0]?.seq ?? head + 1) - 1
    }
    onEvents(events)
    for (const listener of listeners) listener(events)
  }

  async function readAll(): Promise<void> {
    do {
      readAgain = false
      const page = await store.after(head, PAGE_EVENTS, null)
      // An offer may have moved the head while Postgres was asked.
      const fresh = page.events.filter((event) => event.seq > head)
      append(fresh, Math.max(head, page.through))
      if (page.events.length === PAGE_EVENTS) readAgain = true
    } while (readAgain)
  }

  function catchUp(): Promise<void> {
    readAgain = true
    reading ??= readAll().finally(() => {
      reading = undefined
    })
    return reading
  }

  /** The ring from `since` on, or undefined when it does not reach back that far. */
  function fromRing(since: number): readonly FeedEvent[] | undefined {
    if (since < ringFrom) return undefined
    let low = 0
    let high = ring.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((ring[middle]?.seq ?? 0) <= since) low = middle + 1
      else high = middle
    }
    return ring.slice(low)
  }

  /** One step of catching up: the next events after `since` and how far they reach. */
  async function read(
    caller: Caller,
    since: number,
  ): Promise<{ readonly events: readonly FeedEvent[]; readonly through: number }> {
    const recent = fromRing(since)
    if (recent) return { events: recent, through: head }
    await checkKept(since)
    const page = await store.after(since, PAGE_EVENTS, visibleGroup(caller))
    return { events: page.events, through: page.through }
  }

  async function checkKept(since: number): Promise<void> {
    if (since > head) await catchUp()
    if (since > head)
      throw new FleetError('invalid', `no event has number ${since} yet; the newest is ${head}`, { field: 'since' })
    const { pruned } = await store.bounds()
    if (since < pruned) {
      throw new FleetError('expired', `events up to ${pruned} are no longer kept`, { field: 'since' })
    }
  }

  const self: JobFeed = {
    head: () => head,
    catchUp,

    offer(events) {
      const last = events.at(-1)
      if (last === undefined || last.seq <= head) return
      if (events.every((event, n) => event.seq === head + 1 + n)) append(events, last.seq)
      else catchUp().catch((error: unknown) => logger.warn({ event: 'feed.read_failed', error: String(error) }))
    },

    async next({ caller, since, limit, signal }) {
      if (since > head || since < ringFrom) await checkKept(since)
      let cursor = since
      for (;;) {
        const { events, through } = await read(caller, cursor)
        const visible = events.filter((event) => mayFollow(caller, event)).slice(0, limit)
        if (visible.length === limit) return { events: visible, cursor: visible.at(-1)?.seq ?? through }
        if (visible.length > 0 || signal.aborted) return { events: visible, cursor: through }
        cursor = through
        if (cursor >= head) await grown(listeners, signal)
      }
    },

    async follow({ caller, since, signal }, take) {
      if (since > head || since < ringFrom) await checkKept(since)
      let cursor = since
      while (!signal.aborted && (cursor < ringFrom || cursor < head)) {
        const { events, through } = await read(caller, cursor)
        const visible = events.filter((event) => mayFollow(caller, event))
        cursor = through
        if (visible.length > 0) await take(visible)
      }
      if (signal.aborted) return
      // No await stands between the last look at the head and this: nothing is missed and nothing comes twice.
      // Postgres may have been ahead of this replica's head, so what was read there is not told again.
      const isNews = (event: FeedEvent) => event.seq > cursor && mayFollow(caller, event)
      const listener: Listener = (events) => {
        const visible = events.every(isNews) ? events : events.filter(isNews)
        if (visible.length > 0) void take(visible)
      }
      listeners.add(listener)
      await aborted(signal)
      listeners.delete(listener)
    },
  }
  return self
}

function mayFollow(caller: Caller, event: FeedEvent): boolean {
  const groupId = visibleGroup(caller)
  return groupId === null || event.groupId === null || event.groupId === groupId
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}

/** Resolves when an event arrives or `signal` aborts. */
function grown(listeners: Set<Listener>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      listeners.delete(done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    listeners.add(done)
    signal.addEventListener('abort', done, { once: true })
    if (signal.aborted) done()
  })
}
