import { FleetError } from '../../../shared/errors.ts'
import type { Pipeline } from '../pipeline.ts'

export const createExports: Pipeline<'export.create'> = () => {
  throw new FleetError('unavailable', 'not served yet')
}
