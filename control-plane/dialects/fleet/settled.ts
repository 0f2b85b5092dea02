import type { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { Core } from '../../core/core.ts'
import { COMMON_STATUSES, WireError } from '../../http/route.ts'
import type { FleetErrorBody } from './schemas.ts'

/** How long answers that come when the work is done are waited for; the work goes on behind that. */
const SETTLE_TIMEOUT_MS = 30_000

/**
 * Waits for the end of a job and gives its result. @throws WireError: the job's failure in this dialect's words, with `X-Job-Id`.
 */
export async function settled(core: Core, jobId: string, signal: AbortSignal): Promise<unknown> {
  try {
    return await core.jobs.settled(jobId, { timeoutMs: SETTLE_TIMEOUT_MS, signal })
  } catch (thrown) {
    if (!(thrown instanceof FleetError)) throw thrown
    throw asAnswer(thrown, jobId)
  }
}

/** @param jobId of a job that failed so */
export function asAnswer(error: FleetError, jobId: string): WireError {
  const { code, message, field, blockers } = error
  const goesOn = code === 'timeout' ? `; job ${jobId} goes on, see GET /api/v1/jobs/${jobId}` : ''
  const told = { code, message: `${message}${goesOn}`, field, blockers: blockers && [...blockers] }
  const body: z.infer<typeof FleetErrorBody> = { error: told }
  return new WireError(COMMON_STATUSES[code], body, { headers: { 'X-Job-Id': jobId }, cause: error })
}
