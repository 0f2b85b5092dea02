import { FleetError } from '../../../shared/errors.ts'
import type { Pipeline } from '../pipeline.ts'

export const snapshotVolume: Pipeline<'volume.snapshot'> = () => {
  throw new FleetError('unavailable', 'not served yet')
}

export const resizeVolume: Pipeline<'volume.resize'> = () => {
  throw new FleetError('unavailable', 'not served yet')
}

export const deleteVolume: Pipeline<'volume.delete'> = () => {
  throw new FleetError('unavailable', 'not served yet')
}
