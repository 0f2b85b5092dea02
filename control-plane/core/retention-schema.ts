import { z } from 'zod'

const MAX_INT = 2_147_483_647
/** 27 years of days. */
const PERIODS_MAX = 10_000

const error = `must be 0 (unlimited), or a whole number from 2 to ${MAX_INT}`

/** How many good points stay. One would be deleted the moment the next is whole, so it takes two. */
export const Retention = z
  .int(error)
  .min(0, error)
  .max(MAX_INT, error)
  .refine((count) => count !== 1, error)

const periodsError = `must be a whole number from 0 to ${PERIODS_MAX}`
const Periods = z.int(periodsError).min(0, periodsError).max(PERIODS_MAX, periodsError).optional()

const known = 'must hold daily, weekly or monthly'

/**
 * The newest good point of each of the newest days, weeks (from Monday) and months that have one. A member that we do not
 * know is refused: a rule that silently keeps nothing is worse than none.
 */
export const Keep = z
  .strictObject(
    { daily: Periods, weekly: Periods, monthly: Periods },
    { error: (issue) => (issue.code === 'unrecognized_keys' ? `${known}, not ${issue.keys.join(', ')}` : known) },
  )
  .refine(({ daily = 0, weekly = 0, monthly = 0 }) => daily + weekly + monthly > 0, 'must keep something')
export type Keep = z.infer<typeof Keep>
