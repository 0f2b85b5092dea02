import { FleetError } from '../../../shared/errors.ts'
import type { Pipeline } from '../pipeline.ts'

export const reconcileExports: Pipeline<'export.reconcile'> = () => {
  throw new FleetError('unavailable', 'not served yet')
}
