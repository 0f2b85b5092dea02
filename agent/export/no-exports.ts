import { existsSync } from 'node:fs'
import { FleetError } from '../../shared/errors.ts'
import type { ExportKeeper } from './export-keeper.ts'
import { openExportLog } from './export-log.ts'

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
  sessionsOf: async () => [],
  hash: () => '',
  technology: 'none',
  portals: [],
  lun: 0,
  restore: async () => undefined,
  resized: async () => undefined,
  replace: (_place, act) => act(),
}

/**
 * Of a host that is to export nothing. What another setting left in the log stays there, and comes back with that setting, unless it
 * is removed meanwhile.
 * @param path of the log
 */
export function openNoExports(path: string): ExportKeeper & AsyncDisposable {
  if (!existsSync(path)) return { ...NO_EXPORTS, [Symbol.asyncDispose]: async () => undefined }
  const log = openExportLog(path)
  return {
    ...NO_EXPORTS,
    async remove(asked) {
      log.drop(asked.map(({ wwn }) => wwn))
      return asked.map(() => undefined)
    },
    [Symbol.asyncDispose]: async () => log.close(),
  }
}
