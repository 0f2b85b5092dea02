import { FleetError } from '../../shared/errors.ts'
import type { ExportKeeper } from './export-keeper.ts'

/** Of a host that can export nothing. */
export const NO_EXPORTS: ExportKeeper = {
  async add() {
    throw new FleetError('unavailable', 'this host has no iSCSI target')
  },
  remove: async (asked) => asked.map(() => undefined),
  find: () => undefined,
  ofVolume: () => [],
  kept: () => [],
  standing: async () => [],
  hash: () => '',
  technology: 'none',
  portals: [],
  lun: 0,
  restore: async () => undefined,
  resized: async () => undefined,
}
