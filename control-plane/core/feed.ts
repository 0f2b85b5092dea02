import type { Caller } from './caller.ts'

/** One numbered fact about the fleet. `seq` grows by one per event over the whole fleet and is never reused. */
export interface FeedEvent {
  readonly seq: number
  /** `job.queued`, `job.running`, `job.progress`, `job.cancelling`, `job.succeeded`, `job.failed`, `job.cancelled`, `host.online`, `host.offline`, `schedule.overdue`, `schedule.recovered`, `station.backup_overdue`, `station.backup_recovered`. */
  readonly type: string
  readonly jobId: string | null
  /** The tenant that may see it; null: everybody. */
  readonly groupId: string | null
  /** The event as clients get it, encoded once: `{"seq":…,"type":…,"at":…,…}`. */
  readonly json: string
}

export interface FeedPage {
  readonly events: readonly FeedEvent[]
  /** Where to resume: the last sequence number this page accounts for, also when `events` is empty. */
  readonly cursor: number
}

/** The fleet's events in order, the same on every replica. Superseded progress events are dropped, so numbers may skip. */
export interface Feed {
  /** The newest sequence number. */
  head(): number
  /**
   * The events after `since` that `caller` may see, at most `limit`; waits for one until `signal` aborts when there is none.
   * @throws expired when events after `since` are no longer kept; invalid when `since` is ahead of the head.
   */
  next(request: { caller: Caller; since: number; limit: number; signal: AbortSignal }): Promise<FeedPage>
  /**
   * Hands every event after `since` that `caller` may see to `take`, in order, first what is kept, then live, until `signal`
   * aborts. `take` is awaited while catching up; live, it must not block: it drops the client itself when that is too slow.
   * @throws expired, invalid, as `next`.
   */
  follow(
    request: { caller: Caller; since: number; signal: AbortSignal },
    take: (events: readonly FeedEvent[]) => void | Promise<void>,
  ): Promise<void>
}
