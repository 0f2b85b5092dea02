import type { Writable } from 'node:stream'
import type { FeedEvent } from '../core/feed.ts'

/** What may wait in memory for one client before it counts as too slow. */
export const OUTLET_MAX_BYTES = 4 * 1024 * 1024

interface OutletOptions {
  readonly to: Writable
  readonly encode: (events: readonly FeedEvent[]) => Buffer
  readonly signal: AbortSignal
  /** Called once, when more than OUTLET_MAX_BYTES would wait. */
  readonly onTooSlow: () => void
}

/**
 * One client's end of the feed. While it catches up the feed awaits the returned promise, so a slow client slows only
 * itself; live the feed does not wait, the bytes pile up here, and past the bound the client is dropped.
 */
export function createOutlet({ to, encode, signal, onTooSlow }: OutletOptions) {
  let draining: Promise<void> | undefined
  let dropped = false

  /** Resolves, never rejects, when the client has taken what waits or is gone: nobody may be listening. */
  function drained(): Promise<void> {
    draining ??= new Promise<void>((resolve) => {
      const settle = () => {
        to.off('drain', settle)
        signal.removeEventListener('abort', settle)
        draining = undefined
        resolve()
      }
      to.once('drain', settle)
      signal.addEventListener('abort', settle)
    })
    return draining
  }

  return (events: readonly FeedEvent[]): void | Promise<void> => {
    if (dropped || signal.aborted || events.length === 0) return
    const bytes = encode(events)
    if (to.writableLength + bytes.length > OUTLET_MAX_BYTES && to.writableLength > 0) {
      dropped = true
      return onTooSlow()
    }
    if (!to.write(bytes)) return drained()
  }
}
