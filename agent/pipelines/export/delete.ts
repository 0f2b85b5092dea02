import { FleetError } from '../../../shared/errors.ts'
import type { Pipeline } from '../pipeline.ts'

export const deleteExports: Pipeline<'export.delete'> = () => {
  throw new FleetError('unavailable', 'not served yet')
}
