import { FleetError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { BlockConnections } from './block-connections.ts'
import { AttachRequest, BlockSizeGib } from './block-requests.ts'
import { GIB, isCloneSource, isSafety, requireDetached, requireNoDisk, requireStatus } from './block-rules.ts'
import { requireStill, requireTheirs, type Servers } from './block-servers.ts'
import type { BlockSnapshotRow, BlockVolumeChange, BlockVolumeRow, BlockVolumeStore } from './block-store.ts'
import type { BlockVolume, BlockVolumes, CreateBlockVolume } from './block-volumes.ts'
import { createBlockWords } from './block-words.ts'
import { type Caller, requireRole, visibleGroup } from './caller.ts'
import { checkKept, checkRequest } from './check-request.ts'
import { requireCondition } from './condition.ts'
import type { Volumes } from './volumes.ts'

/** Of a deletion that takes snapshots with it: more of them must go by themselves first. */
const MAX_CASCADE = 1_000
/** Until the connection of a volume that is to be deleted is gone. */
const DISCONNECT_MS = 20_000

export function createBlockVolumes(deps: {
  readonly store: BlockVolumeStore
  readonly volumes: Volumes
  readonly connections: BlockConnections
  readonly make: (
    caller: Caller,
    request: CreateBlockVolume,
  ) => Promise<{ readonly jobId: string; readonly id: string }>
  /** All that stand or are being made of a volume, those of the fleet itself too, oldest first. */
  readonly snapshotsOf: (volumeId: string, limit: number) => Promise<readonly BlockSnapshotRow[]>
  readonly forgetSnapshot: (caller: Caller, snapshot: BlockSnapshotRow) => Promise<void>
  readonly servers: Servers
}): BlockVolumes {
  const { store, volumes, connections, make, snapshotsOf, servers } = deps

  const { find, acting, ...words } = createBlockWords({ noun: 'volume', operation: 'volume.describe', store })

  async function change(
    caller: Caller,
    id: string,
    operation: string,
    decide: (row: BlockVolumeRow) => BlockVolumeChange | undefined,
  ): Promise<BlockVolume> {
    const { by } = await acting(caller, id)
    return store.change(by, id, decide, { operation: `volume.${operation}` })
  }

  /** Does the work with the volume claimed; whatever comes of that, it is claimed no longer. */
  async function claimed<Result extends BlockVolumeChange>(
    by: Caller,
    id: string,
    claim: (row: BlockVolumeRow) => BlockVolumeChange & { readonly claim: 'deleting' | 'reverting' },
    work: () => Promise<Result>,
  ): Promise<void> {
    await store.change(by, id, claim)
    let result: BlockVolumeChange = {}
    try {
      result = await work()
    } finally {
      // Its job may be done by now, and the volume gone.
      await store.change(by, id, () => ({ ...result, claim: null })).catch(unlessAbsent)
    }
  }

  /** Oldest first. @throws conflict: more than go at once */
  async function cascadeOf(by: Caller, volume: BlockVolumeRow, cascade: boolean): Promise<readonly BlockSnapshotRow[]> {
    const all = await snapshotsOf(volume.id, MAX_CASCADE + 1)
    if (all.length > MAX_CASCADE) throw new FleetError('conflict', `volume ${volume.id} has too many snapshots`)
    for (const unmade of all.filter((one) => one.isUnmade)) await deps.forgetSnapshot(by, unmade)
    const standing = all.filter((one) => !one.isUnmade && one.status !== 'deleting')
    return cascade ? standing : standing.filter((one) => !one.isDescribed && isCloneSource(one.ownName))
  }

  return {
    ...words,

    async create(caller, request) {
      requireRole(caller, 'operator')
      const { jobId, id } = await make(caller, request)
      return { jobId, volume: await find(caller, id) }
    },

    async setFlags(caller, id, { bootable, readonly }) {
      await change(caller, id, 'describe', (row) => {
        if (readonly !== undefined) requireStatus(row, 'available')
        return { isBootable: bootable, isReadonly: readonly }
      })
    },

    async delete(caller, id, cascade, ifMatch) {
      const { row: volume, by } = await acting(caller, id)
      requireCondition(ifMatch, volume)
      if (volume.isUnmade) return store.forget(by, volume)
      const claim = (row: BlockVolumeRow) => {
        requireCondition(ifMatch, row)
        requireDetached(row)
        requireStatus(row, 'available', 'error_deleting')
        return { claim: 'deleting' as const }
      }
      await claimed(by, id, claim, async () => {
        for (const { path, ownName } of await cascadeOf(by, volume, cascade)) {
          await volumes.deleteSnapshot(by, path.slice(0, path.indexOf('@')), ownName)
        }
        await connections.terminate(by, volume, {}, AbortSignal.timeout(DISCONNECT_MS))
        const { jobId } = await volumes.delete(by, volume.path)
        return { deleteJobId: jobId }
      })
    },

    async extend(caller, id, sizeGib) {
      checkRequest(BlockSizeGib, sizeGib)
      const { row: volume, by } = await acting(caller, id)
      requireStatus(volume, 'available', 'in-use')
      if (sizeGib <= volume.sizeGib) {
        const message = `new_size: must be more than ${volume.sizeGib}, which it is already`
        throw new FleetError('invalid', message, { field: 'new_size' })
      }
      return volumes.resize(by, volume.path, sizeGib * GIB)
    },

    async revert(caller, id, snapshotId, rule) {
      const { row: volume, by } = await acting(caller, id)
      const all = (await snapshotsOf(id, MAX_CASCADE + 1)).filter((one) => !one.isUnmade)
      const snapshot = all.find((one) => one.id === snapshotId)
      if (snapshot === undefined) throw new FleetError('not_found', `volume ${id} has no snapshot ${snapshotId}`)
      if (snapshot.status !== 'available') {
        throw new FleetError('conflict', `snapshot ${snapshotId} is '${snapshot.status}'`)
      }
      if (rule === 'latest') requireLatest(all, snapshot)
      else await requireStill(servers, volume)
      let accepted = { jobId: '' }
      const claim = (row: BlockVolumeRow) => {
        if (rule === 'latest') requireDetached(row)
        requireStatus(row, 'available', ...(rule === 'any' ? (['in-use'] as const) : []))
        return { claim: 'reverting' as const }
      }
      await claimed(by, id, claim, async () => {
        accepted = await volumes.rollback(by, volume.path, snapshot.ownName)
        return {}
      })
      return accepted
    },

    async reserve(caller, id) {
      await change(caller, id, 'reserve', (row) => {
        requireStatus(row, 'available')
        return { phase: 'attaching' }
      })
    },

    async unreserve(caller, id) {
      await change(caller, id, 'unreserve', (row) => (row.phase === 'attaching' ? { phase: null } : undefined))
    },

    async beginDetaching(caller, id) {
      await change(caller, id, 'detach', (row) => {
        requireStatus(row, 'in-use')
        return { phase: 'detaching' }
      })
    },

    async rollDetaching(caller, id) {
      await change(caller, id, 'attach', (row) => (row.phase === 'detaching' ? { phase: null } : undefined))
    },

    async attach(caller, id, to) {
      const { instanceId = null, hostName = null, mountpoint = null, mode } = checkKept(AttachRequest, to)
      const { row: volume } = await acting(caller, id)
      await requireTheirs(servers, volume, instanceId)
      await change(caller, id, 'attach', (row) => {
        requireStatus(row, 'available', 'attaching')
        requireDetached(row)
        if (row.isReadonly && mode === 'rw') {
          throw new FleetError('invalid', `volume ${id} is read-only, and is attached as 'ro'`, { field: 'mode' })
        }
        const isReadonly = row.isReadonly || mode === 'ro'
        const attach = { id: newId(), instanceId, hostName, mountpoint, mode: isReadonly ? 'ro' : 'rw' } as const
        return { phase: null, attach: { ...attach, state: 'attached' } }
      })
    },

    async detach(caller, id, attachmentId) {
      await change(caller, id, 'detach', (row) => {
        requireStatus(row, 'in-use', 'detaching')
        const gone = row.attachments.filter((one) => attachmentId === undefined || one.id === attachmentId)
        if (gone.length === 0) throw new FleetError('not_found', `volume ${id} has no attachment ${attachmentId}`)
        requireNoDisk(gone)
        return { phase: null, detach: gone.map((one) => one.id) }
      })
    },

    async initializeConnection(caller, id, connector, signal) {
      const { row: volume, by } = await acting(caller, id)
      requireStatus(volume, 'available', 'reserved', 'attaching', 'in-use')
      const { isReadonly } = volume
      return connections.initialize(by, volume, { ...connector, isReadonly }, signal)
    },

    async terminateConnection(caller, id, connector, signal) {
      const { row: volume, by } = await acting(caller, id)
      await connections.terminate(by, volume, connector, signal)
    },

    get: find,
    usage: ({ groupId }) => store.usage(groupId),
    summary: (caller) => store.summary(visibleGroup(caller)),
    list: (caller, filter, page) => store.list(visibleGroup(caller), filter, page),
  }
}

/** @throws conflict: there is a newer one. What the fleet keeps for itself does not count. */
function requireLatest(all: readonly BlockSnapshotRow[], snapshot: BlockSnapshotRow): void {
  const isOwn = (one: BlockSnapshotRow) => !one.isDescribed && (isCloneSource(one.ownName) || isSafety(one.ownName))
  const last = all.findLast((one) => one === snapshot || !isOwn(one))
  if (last === snapshot) return
  throw new FleetError('conflict', `snapshot ${snapshot.id} is not the newest of its volume: ${last?.id} is`)
}

function unlessAbsent(error: unknown): void {
  if (!(error instanceof FleetError && error.code === 'not_found')) throw error
}
