import { FleetError } from '../../shared/errors.ts'
import { CreateBlockSnapshotRequest } from './block-requests.ts'
import { actingOn, idFor, requireStatus } from './block-rules.ts'
import type { BlockSnapshotStore, BlockVolumeStore } from './block-store.ts'
import type { BlockSnapshots } from './block-volumes.ts'
import { createBlockWords } from './block-words.ts'
import { requireRole, visibleGroup } from './caller.ts'
import { checkKept } from './check-request.ts'
import { requireCondition } from './condition.ts'
import type { Volumes } from './volumes.ts'

export function createBlockSnapshots(deps: {
  readonly store: BlockSnapshotStore
  readonly volumeStore: Pick<BlockVolumeStore, 'find'>
  readonly volumes: Pick<Volumes, 'snapshot' | 'deleteSnapshot'>
}): BlockSnapshots {
  const { store, volumeStore, volumes } = deps

  const { find, acting, ...words } = createBlockWords({
    noun: 'snapshot',
    operation: 'volume-snapshot.describe',
    store,
  })

  return {
    ...words,

    async create(caller, request) {
      requireRole(caller, 'operator')
      const {
        name = null,
        description = null,
        metadata = {},
        ...asked
      } = checkKept(CreateBlockSnapshotRequest, request)
      const volume = await volumeStore.find(visibleGroup(caller), asked.volumeId)
      if (volume === undefined) throw new FleetError('not_found', `there is no volume ${asked.volumeId}`)
      const by = actingOn(caller, volume)
      requireStatus(volume, 'available', ...(asked.force ? (['in-use', 'attaching', 'detaching'] as const) : []))
      const own = `snapshot-${idFor(caller, 'block snapshot')}`
      const { jobId, snapshot } = await volumes.snapshot(by, volume.path, own)
      const { id, groupId, path, sizeBytes, volumeId } = snapshot
      await store.describe({ id, groupId, volumeId, path, sizeBytes, name, description, metadata })
      return { jobId, snapshot: await find(caller, id) }
    },

    async delete(caller, id, ifMatch) {
      const { row: snapshot, by } = await acting(caller, id)
      requireCondition(ifMatch, snapshot)
      if (snapshot.isUnmade) return store.forget(by, snapshot)
      if (snapshot.status !== 'available' && snapshot.status !== 'error_deleting') {
        throw new FleetError('conflict', `snapshot ${id} is '${snapshot.status}'`)
      }
      const { path, ownName } = snapshot
      const { jobId } = await volumes.deleteSnapshot(by, path.slice(0, path.indexOf('@')), ownName)
      // It may be gone by now.
      await store
        .change(by, id, () => ({ deleteJobId: jobId }))
        .catch((error: unknown) => {
          if (!(error instanceof FleetError && error.code === 'not_found')) throw error
        })
    },

    get: find,
    list: (caller, filter, page) => store.list(visibleGroup(caller), filter, page),
  }
}
