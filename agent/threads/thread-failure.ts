import { FleetError } from '../../shared/errors.ts'
import { asFleetError } from '../native/system-error.ts'
import type { ThreadFailure } from './thread-group.ts'

/** @throws what is a bug */
export function failureOf(thrown: unknown, subject: string): ThreadFailure {
  const error = asFleetError(thrown, subject)
  if (!(error instanceof FleetError)) throw error
  const { code, message, detail } = error
  return { type: 'failed', code, message, detail }
}

export function errorOf({ code, message, detail }: ThreadFailure): FleetError {
  return new FleetError(code, message, detail === undefined ? {} : { detail })
}
