import { z } from 'zod'

const DIGITS_MAX = 15

/** In a path: a number; uuids are of other dialects. */
export const NumberedId = z.object({
  id: z.string().regex(new RegExp(`^\\d{1,${DIGITS_MAX}}$`), 'must be a whole number'),
})

/** What a DELETE answers. */
export const RemovedIds = z.array(z.number().int()).meta({ example: [1] })
