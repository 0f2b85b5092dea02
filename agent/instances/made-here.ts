import { FleetError } from '../../shared/errors.ts'
import type { Instances, MadeInstances } from './instances.ts'

/** @throws refused where this technology's instances are not made here */
export function madeHere(instances: Instances): MadeInstances {
  const { create, rename, destroy, unmake } = instances
  if (create && rename && destroy && unmake) return { ...instances, create, rename, destroy, unmake }
  throw new FleetError('refused', `instances of type '${instances.type}' are not made, renamed or removed here`)
}
