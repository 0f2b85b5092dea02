import { z } from 'zod'
import { FEATURES, SOURCE_TYPES } from '../../core/schedules.ts'

/** What the order of a run says, of its schedule `s`. */
export const OfSchedule = z
  .object({
    schedule_id: z.string(),
    number: z.coerce.number(),
    group_id: z.string(),
    name: z.string(),
    type: z.enum(SOURCE_TYPES),
    container: z.string(),
    host: z.string().nullable(),
    target_id: z.string().nullable(),
    directory: z.string(),
    features: z.array(z.enum(FEATURES)),
  })
  .transform(({ schedule_id: id, group_id: groupId, target_id: targetId, ...row }) => ({
    id,
    groupId,
    targetId,
    ...row,
  }))

const OF_SCHEDULE =
  's.id as schedule_id, s.number, s.group_id, s.name, s.type, s.container, s.host, s.target_id, s.directory, s.features'

/** @see OfSchedule */
export const SCHEDULE_JSON = `(select to_jsonb(o) from (select ${OF_SCHEDULE}) o) as schedule`
