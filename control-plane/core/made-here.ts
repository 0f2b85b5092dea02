import { FleetError } from '../../shared/errors.ts'
import { type InstanceType, IS_MADE_HERE } from '../../shared/instance-spec.ts'

/** @param field of the request that names it. @throws refused */
export function requireMadeHere(type: InstanceType, field: string): void {
  if (IS_MADE_HERE[type]) return
  const instead = 'its disks are volumes: clone or restore those'
  throw new FleetError('refused', `a domain of libvirt is not made, cloned or moved by the fleet; ${instead}`, {
    field,
  })
}
