import { FleetError } from '../../shared/errors.ts'
import type { Driver } from '../drivers/driver.ts'

/** @throws refused for a pool that only pretends. */
export function requireFiles({ name }: Pick<Driver, 'name'>): void {
  if (name === 'sim') throw new FleetError('refused', 'simulated pools hold no files')
}
