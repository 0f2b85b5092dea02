import type { FleetError } from '../../shared/errors.ts'
import type { JobFailure } from '../../shared/job-event.ts'

/** What a client may know of a failure: not its detail and cause. */
export function failureOf(error: FleetError): JobFailure {
  return {
    code: error.code,
    message: error.message,
    ...(error.field ? { field: error.field } : {}),
    ...(error.blockers ? { blockers: [...error.blockers] } : {}),
    ...(error.members ? { members: [...error.members] } : {}),
    ...(error.points ? { points: [...error.points] } : {}),
    ...(error.left ? { left: true } : {}),
  }
}
