import { z } from 'zod'
import type { Recurrence } from './recurrence.ts'
import { Keep } from './retention-schema.ts'

/** What `start` counts for times of day; that of a oneshot is always seconds. */
export type StartUnit = 'seconds' | 'minutes'

const SECONDS_OF: Readonly<Record<StartUnit, number>> = { seconds: 1, minutes: 60 }
const DAY_SECONDS = 86_400
/** 9999-12-31T23:59:59Z; what lies beyond was meant as milliseconds. */
const EPOCH_SECONDS_MAX = 253_402_300_799
const TIMEZONE_MAX = 64

const Timezone = z
  .string('must be the name of a time zone, like Europe/Berlin')
  .max(TIMEZONE_MAX)
  .refine(isTimezone, 'must be the name of a time zone, like Europe/Berlin')

/** Whether the running Node knows the rules of that zone. */
export function isTimezone(name: string): boolean {
  // `+02:00` would do for Temporal, but it is no zone: it knows no summer.
  if (!/^[A-Za-z]/.test(name)) return false
  try {
    new Temporal.ZonedDateTime(0n, name)
    return true
  } catch {
    return false
  }
}

const wholeNumber = (min: number, max: number, what: string) => {
  const error = `must be ${what}, from ${min} to ${max}`
  return z.int(error).min(min, error).max(max, error)
}

const daysOf = (min: number, max: number, period: 'week' | 'month') =>
  z
    .array(wholeNumber(min, max, `a day of the ${period}`), `must be a list of days of the ${period}`)
    .min(1, `must name at least one day of the ${period}`)
    .max(max - min + 1, `must not be longer than ${max - min + 1}`)

/**
 * `at` as clients write it. Members that we do not know (`times`) are kept; what is stored and shown again is this, what
 * is computed with is `recurrenceOf` of it.
 * @param zone of what is kept any name: rules of zones come with Node, and another one may have known it.
 */
export function atSchema(startUnit: StartUnit, zone: z.ZodType<string> = Timezone) {
  const start = wholeNumber(0, DAY_SECONDS / SECONDS_OF[startUnit] - 1, `whole ${startUnit} after 00:00`)
  const recurring = { start, timezone: zone.optional(), keep: Keep.optional() }
  return z.discriminatedUnion(
    'repeat',
    [
      z.looseObject({ repeat: z.literal('daily'), ...recurring }),
      z.looseObject({ repeat: z.literal('weekly'), ...recurring, days: daysOf(0, 6, 'week') }),
      z.looseObject({ repeat: z.literal('monthly'), ...recurring, days: daysOf(1, 31, 'month') }),
      z.looseObject({
        repeat: z.literal('oneshot'),
        ...recurring,
        start: wholeNumber(0, EPOCH_SECONDS_MAX, 'whole seconds since 1970'),
      }),
    ],
    'must be one of daily, weekly, monthly, oneshot',
  )
}

export type At = z.infer<ReturnType<typeof atSchema>>

/** `timezone`: the server's, for schedules that name none. */
export function recurrenceOf(at: At, { startUnit, timezone }: { startUnit: StartUnit; timezone: string }): Recurrence {
  if (at.repeat === 'oneshot') return { repeat: 'oneshot', instantMs: at.start * 1000 }
  const local = { startSeconds: at.start * SECONDS_OF[startUnit], timezone: at.timezone ?? timezone }
  if (at.repeat === 'daily') return { repeat: 'daily', ...local }
  return { repeat: at.repeat, ...local, days: at.days }
}
