import type { FleetError } from '../../shared/errors.ts'
import type { JobFailure } from '../../shared/job-event.ts'

const MAX_MESSAGE = 8_192
/** Of all names of a list together, as JSON: NATS takes messages of at most a MiB, and who could not tell of a failure would try for ever. */
const MAX_NAMES_BYTES = 2 ** 17

/** What a client may know of a failure: not its detail and cause, and no more than fits one message. */
export function failureOf(error: FleetError): JobFailure {
  return bounded({
    code: error.code,
    message: error.message,
    ...(error.field ? { field: error.field } : {}),
    ...(error.blockers ? { blockers: [...error.blockers] } : {}),
    ...(error.members ? { members: [...error.members] } : {}),
    ...(error.points ? { points: [...error.points] } : {}),
    ...(error.left ? { left: true } : {}),
  })
}

/** The same failure, of long texts and lists only as much as fits one message. */
export function bounded({ message, blockers, members, ...failure }: JobFailure): JobFailure {
  return {
    ...failure,
    message: message.length <= MAX_MESSAGE ? message : `${message.slice(0, MAX_MESSAGE).toWellFormed()}…`,
    ...(blockers ? { blockers: firstOf(blockers) } : {}),
    ...(members ? { members: firstOf(members) } : {}),
  }
}

function firstOf(names: readonly string[]): string[] {
  let bytes = 0
  const end = names.findIndex((name) => {
    bytes += Buffer.byteLength(JSON.stringify(name))
    return bytes > MAX_NAMES_BYTES
  })
  return names.slice(0, end < 0 ? names.length : end)
}
