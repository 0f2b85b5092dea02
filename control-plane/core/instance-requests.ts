import { z } from 'zod'
import { Hold, InstanceName } from '../../shared/instance-spec.ts'

const MAX_GRACE_MS = 600_000

/** What each kind of job about an instance was asked, as it is kept with the job so that a retry can ask it again. */
export const InstanceRequest = z.object({ id: z.string() })

export const CloneInstanceRequest = InstanceRequest.extend({
  name: InstanceName,
  pool: z.string().optional(),
  hold: Hold.optional(),
  start: z.boolean().optional(),
})
export type CloneInstanceRequest = z.infer<typeof CloneInstanceRequest>

export const StopInstanceRequest = InstanceRequest.extend({
  graceMs: z.number().int().min(0).max(MAX_GRACE_MS).optional(),
})
