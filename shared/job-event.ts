import { z } from 'zod'
import { ERROR_CODES } from './errors.ts'
import { Id } from './ids.ts'

/** One finished step of a job and how long it took. */
export const Phase = z.object({ name: z.string(), seconds: z.number().nonnegative() })
export type Phase = z.infer<typeof Phase>

/** Work done so far, in what the job counts; totals are absent until they are known. */
export const Progress = z.object({
  phase: z.string(),
  percent: z.number().min(0).max(100).optional(),
  files: z.number().int().nonnegative().optional(),
  totalFiles: z.number().int().nonnegative().optional(),
  bytes: z.number().int().nonnegative().optional(),
  totalBytes: z.number().int().nonnegative().optional(),
  bytesPerSecond: z.number().nonnegative().optional(),
  /** Estimated until the end; absent where nobody can tell. */
  secondsLeft: z.number().nonnegative().optional(),
  /** Of an order's list: those that this phase is done with, failed ones too; those that ended for good, failed ones too; all. */
  elements: z.number().int().nonnegative().optional(),
  endedElements: z.number().int().nonnegative().optional(),
  totalElements: z.number().int().nonnegative().optional(),
})
export type Progress = z.infer<typeof Progress>

export const JobFailure = z.object({
  code: z.enum(ERROR_CODES),
  message: z.string(),
  field: z.string().optional(),
  blockers: z.array(z.string()).optional(),
  /** Paths of files that were found damaged: the first hundred. */
  members: z.array(z.string()).optional(),
  /** Ids of the points in whose archives they lie. */
  points: z.array(Id).optional(),
  /** Not all that the job had done could be taken back. */
  left: z.boolean().optional(),
})
export type JobFailure = z.infer<typeof JobFailure>

/** Its place among the events of one delivery of one attempt: later events of a job compare greater by (delivery, seq). */
const place = { seq: z.number().int().nonnegative(), at: z.number() }

export const JobEvent = z.discriminatedUnion('type', [
  z.object({ type: z.literal('start'), ...place }),
  z.object({ type: z.literal('progress'), ...place, progress: Progress }),
  /** The job needs its source dataset no longer: others may have it. */
  z.object({ type: z.literal('release'), ...place }),
  z.object({ type: z.literal('succeed'), ...place, result: z.unknown(), phases: z.array(Phase) }),
  z.object({ type: z.literal('fail'), ...place, error: JobFailure, phases: z.array(Phase) }),
  z.object({ type: z.literal('stop'), ...place, phases: z.array(Phase) }),
])
export type JobEvent = z.infer<typeof JobEvent>

/** What an agent says about one job at one time: the events since it last spoke of it, oldest first. */
export const JobReport = z.object({
  jobId: Id,
  attempt: z.number().int().positive(),
  /** Which delivery of the attempt this agent process works on; grows when the agent starts again. */
  delivery: z.number().int().positive(),
  events: z.array(JobEvent).min(1),
})
export type JobReport = z.infer<typeof JobReport>

export function isTerminalEvent(event: JobEvent): boolean {
  return event.type === 'succeed' || event.type === 'fail' || event.type === 'stop'
}
