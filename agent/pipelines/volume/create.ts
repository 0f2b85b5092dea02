import { FleetError } from '../../../shared/errors.ts'
import type { Pipeline } from '../pipeline.ts'

export const createVolume: Pipeline<'volume.create'> = () => {
  throw new FleetError('unavailable', 'not served yet')
}

export const cloneVolume: Pipeline<'volume.clone'> = () => {
  throw new FleetError('unavailable', 'not served yet')
}
