import { FleetError } from '../../../shared/errors.ts'
import type { Pipeline } from '../pipeline.ts'

export const restoreVolume: Pipeline<'volume.restore'> = () => {
  throw new FleetError('refused', 'agents of this version cannot do that yet')
}
