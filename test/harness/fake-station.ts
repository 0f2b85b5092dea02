import { randomUUID } from 'node:crypto'
import { createStation, type Station, type StationBackup } from '../../control-plane/core/station.ts'

/** Backups of a station that end at once. */
export function createFakeStation(): Station {
  const backups: StationBackup[] = []
  return createStation({
    list: async ({ limit }) => ({ items: backups.slice(0, limit), nextCursor: null }),
    async begin(caller) {
      const at = new Date('2026-01-02T03:04:05.678Z')
      const backup: StationBackup = {
        ...{ id: randomUUID(), trigger: 'asked', state: 'good', askedBy: caller.subject, startedAt: at, endedAt: at },
        ...{ file: '/backups/station', storedBytes: 1, sha256: '00', encrypted: false, keys: false },
        ...{ reason: null, evictedAt: null },
      }
      backups.unshift(backup)
      return backup
    },
  })
}
