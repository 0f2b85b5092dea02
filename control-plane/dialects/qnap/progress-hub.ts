import { FleetError, toFleetError } from '../../../shared/errors.ts'
import { SYSTEM_CALLER } from '../../core/caller.ts'
import type { Feed, FeedEvent } from '../../core/feed.ts'
import type { JobProgress, ProgressChange } from './job-progress.ts'

/** Newest changes that are remembered; who is further behind reads the feed. */
const CHANGES_MAX = 8_192
/** Events that wait for what they are part of to be looked up. */
const QUEUE_MAX = 50_000
/** Changes that follow one another faster are told together, so that a thousand pollers do not keep the server busy. */
const TELL_GAP_MS = 200
/** Without anybody who asks it reads on for so long: a poller comes back within moments. */
const IDLE_MS = 60_000
/** Lists that are kept for others who ask the same. */
const LISTS_MAX = 100
const NONE: readonly ProgressChange[] = []

interface Waiter {
  readonly groupId: string
  readonly wake: (error?: FleetError) => void
}

/**
 * Changes of tasks, read from the feed once for all who poll: they wait here, and are woken for their own group only. What
 * cannot be looked up ends it, and everybody's wait; cursors are the feed's, so nothing is lost with it.
 */
export function createProgressHub({ feed, jobs }: { readonly feed: Feed; readonly jobs: JobProgress }) {
  const following = new AbortController()
  const waiters = new Set<Waiter>()
  const lastOf = new Map<string, number>()
  let queue: FeedEvent[] = []
  let isReading = false
  let failure: FleetError | undefined
  let from = feed.head()
  let changes: ProgressChange[] = []
  /** What has been looked up, and how far that reaches, but is not told yet. */
  let untold: ProgressChange[] = []
  let read = from
  let told = from
  const lists = new Map<string, readonly ProgressChange[]>()
  let toldAtMs = Number.NEGATIVE_INFINITY
  let telling: NodeJS.Timeout | undefined
  let idling: NodeJS.Timeout | undefined = idleSoon()

  function idleSoon(): NodeJS.Timeout {
    return setTimeout(() => stop(), IDLE_MS).unref()
  }

  function stop(error?: FleetError): void {
    failure ??= error
    following.abort()
    clearTimeout(telling)
    clearTimeout(idling)
    for (const { wake } of waiters) wake(error)
  }

  /** Steps that do not move a whole percent are no news. */
  function isNews({ jobId, progress, isStep, isEnd }: ProgressChange): boolean {
    const isSame = lastOf.get(jobId) === progress
    if (isEnd) lastOf.delete(jobId)
    else lastOf.set(jobId, progress)
    return !isStep || !isSame
  }

  function tell(): void {
    telling = undefined
    told = read
    if (untold.length === 0) return
    toldAtMs = performance.now()
    const groups = new Set(untold.map(({ groupId }) => groupId))
    changes.push(...untold)
    untold = []
    lists.clear()
    if (changes.length > 2 * CHANGES_MAX) {
      const dropped = changes.length - CHANGES_MAX
      from = changes[dropped - 1]?.seq ?? from
      changes = changes.slice(dropped)
    }
    // All at once, not in slices: each then writes its answer before any does what comes behind answers, so that the last is not late.
    for (const { groupId, wake } of waiters) if (groups.has(groupId)) wake()
  }

  function tellSoon(): void {
    const inMs = toldAtMs + TELL_GAP_MS - performance.now()
    if (inMs <= 0) tell()
    else telling ??= setTimeout(tell, inMs)
  }

  async function readQueue(): Promise<void> {
    isReading = true
    while (queue.length > 0 && !following.signal.aborted) {
      const events = queue
      queue = []
      untold.push(...(await jobs.changesOf(events)).filter(isNews))
      read = events.at(-1)?.seq ?? read
      if (untold.length > 0) tellSoon()
      else told = read
    }
    isReading = false
  }

  function take(events: readonly FeedEvent[]): void {
    queue.push(...events)
    if (queue.length > QUEUE_MAX) stop(new FleetError('busy', 'too much happens to be followed'))
    else if (!isReading) readQueue().catch((error: unknown) => stop(toFleetError(error)))
  }

  feed
    .follow({ caller: SYSTEM_CALLER, since: from, signal: following.signal }, take)
    .catch((error: unknown) => stop(toFleetError(error)))

  return {
    /** False once it has ended: another one is needed. */
    isOpen: () => !following.signal.aborted,
    /** It knows all changes after this. */
    from: () => from,
    /** It has told all changes up to this. */
    told: () => told,

    /** Of a group after `since`, in order: the same list for all who ask the same until there are more changes. */
    after(groupId: string, since: number): readonly ProgressChange[] {
      const first = changes.findLastIndex(({ seq }) => seq <= since) + 1
      if (first === changes.length) return NONE
      const asked = `${groupId} ${changes[first]?.seq}`
      const known = lists.get(asked)
      if (known !== undefined) return known
      const found = changes.slice(first).filter((change) => change.groupId === groupId)
      if (lists.size < LISTS_MAX) lists.set(asked, found)
      return found
    },

    /** Resolves when that group has a change, after `timeoutMs`, or when `signal` aborts. @throws unavailable, busy: it has ended. */
    changed(groupId: string, { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal }) {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const leave = () => waiter.wake()
      const timer = setTimeout(leave, timeoutMs)
      const waiter: Waiter = {
        groupId,
        wake(error) {
          if (!waiters.delete(waiter)) return
          clearTimeout(timer)
          signal.removeEventListener('abort', leave)
          if (waiters.size === 0) idling ??= idleSoon()
          if (error) reject(error)
          else resolve()
        },
      }
      clearTimeout(idling)
      idling = undefined
      waiters.add(waiter)
      signal.addEventListener('abort', leave, { once: true })
      if (failure !== undefined || signal.aborted) waiter.wake(failure)
      return promise
    },
  }
}

export type ProgressHub = ReturnType<typeof createProgressHub>
