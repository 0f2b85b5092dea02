import { createHash } from 'node:crypto'

/**
 * When schedules are due, by the wall clock of their zone. The rules of zones are those of the running Node
 * (`process.versions.tz`); see docs/decisions/0035-calendar.md.
 */

interface LocalTime {
  /** After 00:00 by the wall clock, 0..86399. */
  readonly startSeconds: number
  /** IANA. */
  readonly timezone: string
}

type Recurring = LocalTime &
  (
    | { readonly repeat: 'daily' }
    /** 0 is Sunday. */
    | { readonly repeat: 'weekly'; readonly days: readonly number[] }
    /** 1..31; a month that lacks the day is due on its last day. */
    | { readonly repeat: 'monthly'; readonly days: readonly number[] }
  )

export type Recurrence = Recurring | { readonly repeat: 'oneshot'; readonly instantMs: number }

/** More than any two dues are apart. */
const DAYS_WITHOUT_DUE_MAX = 64

/** The first due instant after `afterMs` (whole epoch milliseconds); undefined for a oneshot that is over. */
export function nextDue(at: Recurrence, afterMs: number): number | undefined {
  for (const dueMs of duesAfter(at, afterMs)) return dueMs
  return undefined
}

/** What a schedule waits for that is made, changed or enabled at `nowMs`: a oneshot of the past is due still, at once. */
export function firstDue(at: Recurrence, nowMs: number): number {
  const dueMs = at.repeat === 'oneshot' ? at.instantMs : nextDue(at, nowMs)
  if (dueMs === undefined) throw new RangeError('a recurrence without days is never due')
  return dueMs
}

/**
 * The due instants in (fromMs, toMs], oldest first, `limit` at most: adjoining spans name each instant once. Who gets
 * `limit` of them goes on from the last.
 */
export function duesBetween(at: Recurrence, fromMs: number, toMs: number, limit: number): number[] {
  const dues: number[] = []
  if (limit <= 0) return dues
  for (const dueMs of duesAfter(at, fromMs)) {
    if (dueMs > toMs) break
    dues.push(dueMs)
    if (dues.length === limit) break
  }
  return dues
}

/** How long after its due instant a job begins, 0 ≤ ms < spreadMs: always the same for one job, even over many. */
export function jitterMs(jobId: string, spreadMs: number): number {
  const share = createHash('sha256').update(jobId).digest().readUIntBE(0, 6) / 2 ** 48
  return Math.floor(share * spreadMs)
}

function* duesAfter(at: Recurrence, afterMs: number): Generator<number> {
  if (at.repeat === 'oneshot') {
    if (at.instantMs > afterMs) yield at.instantMs
    return
  }
  let lastMs = afterMs
  let date = new Temporal.ZonedDateTime(BigInt(afterMs) * 1_000_000n, at.timezone).toPlainDate()
  for (let idleDays = 0; idleDays < DAYS_WITHOUT_DUE_MAX; idleDays += 1) {
    const dueMs = isDueOn(at, date) ? dueOf(at, date) : undefined
    if (dueMs !== undefined && dueMs > lastMs) {
      yield dueMs
      lastMs = dueMs
      idleDays = 0
    }
    date = date.add({ days: 1 })
  }
}

function isDueOn(at: Recurring, date: Temporal.PlainDate): boolean {
  if (at.repeat === 'daily') return true
  // Temporal's Sunday is 7.
  if (at.repeat === 'weekly') return at.days.includes(date.dayOfWeek % 7)
  return at.days.includes(date.day) || (date.day === date.daysInMonth && at.days.some((day) => day > date.day))
}

/**
 * A time that the clock skips is due when the clock has jumped. So is one of a date that the zone never had (Samoa had no
 * 30 December 2011), unless the date that came instead is due itself.
 */
function dueOf(at: Recurring, date: Temporal.PlainDate): number | undefined {
  const due = firstInstant(date.toPlainDateTime().add({ seconds: at.startSeconds }), at.timezone)
  const landed = due.toPlainDate()
  if (!landed.equals(date) && !hasDate(at.timezone, date) && isDueOn(at, landed)) return undefined
  return due.epochMilliseconds
}

function hasDate(timezone: string, date: Temporal.PlainDate): boolean {
  return firstInstant(date.toPlainDateTime(), timezone).toPlainDate().equals(date)
}

/** When the zone's wall clock first shows that time, or, where it skips it, the time after the gap. */
function firstInstant(wall: Temporal.PlainDateTime, timezone: string): Temporal.ZonedDateTime {
  // Of two instants the first; for a skipped time one before the gap.
  const found = wall.toZonedDateTime(timezone, { disambiguation: 'earlier' })
  if (found.toPlainDateTime().equals(wall)) return found
  return found.getTimeZoneTransition('next') ?? wall.toZonedDateTime(timezone)
}
