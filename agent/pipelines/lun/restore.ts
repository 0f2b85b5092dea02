import { FleetError } from '../../../shared/errors.ts'
import type { Pipeline } from '../pipeline.ts'

export const restoreLun: Pipeline<'lun.restore'> = () => {
  throw new FleetError('unavailable', 'this agent reaches no LUNs of other services yet')
}
