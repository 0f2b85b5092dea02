import { FleetError } from '../../shared/errors.ts'

/** Of an agent that serves none. */
export function noInstances(): never {
  throw new FleetError('unavailable', 'there are no instances here')
}
