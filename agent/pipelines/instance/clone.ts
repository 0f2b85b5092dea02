import { FleetError } from '../../../shared/errors.ts'
import type { Pipeline } from '../pipeline.ts'

/** A new instance from one that may run, on the same host. */
export const cloneInstance: Pipeline<'instance.clone'> = () => {
  throw new FleetError('refused', 'this agent does not clone instances yet')
}
