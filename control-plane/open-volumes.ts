import { FleetError } from '../shared/errors.ts'
import type { Exports } from './core/exports.ts'
import type { Volumes } from './core/volumes.ts'

async function unserved(): Promise<never> {
  throw new FleetError('unavailable', 'not served yet')
}

/** Volumes of pools, and their exports. */
export function openVolumes(): { readonly volumes: Volumes; readonly exports: Exports } {
  return {
    volumes: {
      ...{ create: unserved, clone: unserved, resize: unserved, delete: unserved, snapshot: unserved },
      ...{ deleteSnapshot: unserved, get: unserved, list: unserved, snapshots: unserved, standing: unserved },
    },
    exports: { create: unserved, remove: unserved, batch: unserved, get: unserved, list: unserved },
  }
}
