import { FleetError } from '../../../shared/errors.ts'
import type { Pipeline } from '../pipeline.ts'

export const startInstance: Pipeline<'instance.start'> = () => {
  throw new FleetError('refused', 'this agent does not start instances yet')
}

export const stopInstance: Pipeline<'instance.stop'> = () => {
  throw new FleetError('refused', 'this agent does not stop instances yet')
}
