import type { TargetLimits } from '../../shared/target-config.ts'
import type { Clock } from './clock.ts'

const BURST_SECONDS = 0.25
/** A wait is looked at again this often, because a window may have begun. */
const MAX_SLEEP_MS = 1_000
const WEEKDAYS: readonly string[] = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']

type Windows = Pick<TargetLimits, 'bytesPerSecond' | 'windows' | 'timezone'>

/** Bytes a second that the limits allow at an instant; undefined: any. */
export function rateAt(limits: Windows, at: Date): number | undefined {
  if (limits.windows.length === 0) return limits.bytesPerSecond
  const { day, time } = localTime(at, limits.timezone)
  const window = limits.windows.find(({ days, from, to }) => {
    if (from <= to) return days.includes(day) && time >= from && time < to
    return (days.includes(day) && time >= from) || (days.includes((day + 6) % 7) && time < to)
  })
  return window === undefined ? limits.bytesPerSecond : window.bytesPerSecond
}

function localTime(at: Date, timezone: string): { readonly day: number; readonly time: string } {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: timezone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  })
  const parts = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]))
  return { day: WEEKDAYS.indexOf(parts.weekday ?? ''), time: `${parts.hour}:${parts.minute}` }
}

/**
 * A bucket that may be overdrawn: a chunk is taken whole and whoever comes next waits until the debt is paid, so chunks may be
 * larger than the bucket. Pure: time is an argument, in milliseconds.
 */
export class TokenBucket {
  #tokens = 0
  #at: number

  constructor(nowMs: number) {
    this.#at = nowMs
  }

  /** @returns milliseconds to wait before the next chunk */
  waitMs(rate: number | undefined, nowMs: number): number {
    const elapsedMs = Math.max(0, nowMs - this.#at)
    this.#at = nowMs
    if (rate === undefined) {
      this.#tokens = 0
      return 0
    }
    this.#tokens = Math.min(rate * BURST_SECONDS, this.#tokens + (rate * elapsedMs) / 1000)
    return this.#tokens >= 0 ? 0 : Math.ceil((-this.#tokens / rate) * 1000)
  }

  take(bytes: number): void {
    this.#tokens -= bytes
  }
}

/** Holds bytes back as the limits of a target say. */
export class Throttle {
  readonly #limits: Windows
  readonly #clock: Clock
  readonly #bucket: TokenBucket
  #rate: number | undefined
  #rateUntilMs = 0

  constructor(limits: Windows, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
    this.#bucket = new TokenBucket(clock.now())
  }

  /** Resolves when `bytes` may go. @throws FleetError `cancelled` */
  async pass(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#limits.bytesPerSecond === undefined && this.#limits.windows.length === 0) return
    for (;;) {
      const now = this.#clock.now()
      const waitMs = this.#bucket.waitMs(this.#rateAt(now), now)
      if (waitMs === 0) break
      await this.#clock.sleep(Math.min(waitMs, MAX_SLEEP_MS), signal)
    }
    this.#bucket.take(bytes)
  }

  /** Local times are dear to work out: once a second is enough. */
  #rateAt(now: number): number | undefined {
    if (now >= this.#rateUntilMs) {
      this.#rate = rateAt(this.#limits, new Date(now))
      this.#rateUntilMs = now + MAX_SLEEP_MS
    }
    return this.#rate
  }
}
