import { FleetError } from '../../shared/errors.ts'
import { BlockMetadata, BlockWords, CreateBlockSnapshotRequest } from './block-requests.ts'
import { actingOn, idFor, requireStatus } from './block-rules.ts'
import type { BlockSnapshotChange, BlockSnapshotRow, BlockSnapshotStore, BlockVolumeStore } from './block-store.ts'
import type { BlockSnapshot, BlockSnapshots } from './block-volumes.ts'
import { type Caller, requireRole, visibleGroup } from './caller.ts'
import { checkKept } from './check-request.ts'
import { requireCondition } from './condition.ts'
import type { Volumes } from './volumes.ts'

export function createBlockSnapshots(deps: {
  readonly store: BlockSnapshotStore
  readonly volumeStore: Pick<BlockVolumeStore, 'find'>
  readonly volumes: Pick<Volumes, 'snapshot' | 'deleteSnapshot'>
}): BlockSnapshots {
  const { store, volumeStore, volumes } = deps

  async function find(caller: Caller, id: string): Promise<BlockSnapshotRow> {
    const snapshot = await store.find(visibleGroup(caller), id)
    if (snapshot === undefined) throw new FleetError('not_found', `there is no snapshot ${id}`)
    return snapshot
  }

  async function acting(caller: Caller, id: string) {
    requireRole(caller, 'operator')
    const snapshot = await find(caller, id)
    return { snapshot, by: actingOn(caller, snapshot) }
  }

  async function change(
    caller: Caller,
    id: string,
    decide: (row: BlockSnapshotRow) => BlockSnapshotChange | undefined,
  ): Promise<BlockSnapshot> {
    const { by } = await acting(caller, id)
    return store.change(by, id, decide, { operation: 'volume-snapshot.describe' })
  }

  return {
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

    async update(caller, id, words, ifMatch) {
      checkKept(BlockWords, words)
      return change(caller, id, (row) => {
        requireCondition(ifMatch, row)
        return words
      })
    },

    async setMetadata(caller, id, metadata, replace, ifMatch) {
      return change(caller, id, (row) => {
        requireCondition(ifMatch, row)
        return { metadata: checkKept(BlockMetadata, replace ? metadata : { ...row.metadata, ...metadata }) }
      })
    },

    async deleteMetadata(caller, id, key, ifMatch) {
      return change(caller, id, (row) => {
        requireCondition(ifMatch, row)
        if (!Object.hasOwn(row.metadata, key)) {
          throw new FleetError('not_found', `snapshot ${id} has no metadata '${key}'`)
        }
        const { [key]: _, ...metadata } = row.metadata
        return { metadata }
      })
    },

    async delete(caller, id, ifMatch) {
      const { snapshot, by } = await acting(caller, id)
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
