import { createBlockAttachments } from '../../control-plane/core/block-attachment-orders.ts'
import { createBlockConnections } from '../../control-plane/core/block-connections.ts'
import { createBlockSources } from '../../control-plane/core/block-create.ts'
import { GIB } from '../../control-plane/core/block-rules.ts'
import { createBlockSnapshots } from '../../control-plane/core/block-snapshot-orders.ts'
import type {
  BlockAttachmentReader,
  BlockSnapshotChange,
  BlockSnapshotRow,
  BlockSnapshotStore,
  BlockVolumeChange,
  BlockVolumeRow,
  BlockVolumeStore,
} from '../../control-plane/core/block-store.ts'
import { createBlockVolumes } from '../../control-plane/core/block-volume-orders.ts'
import type { BlockFilter, BlockPage, BlockPageRequest } from '../../control-plane/core/block-volumes.ts'
import type { Caller } from '../../control-plane/core/caller.ts'
import type { Core } from '../../control-plane/core/core.ts'
import { FleetError } from '../../shared/errors.ts'
import type { FakeVolumeControls } from './fake-volumes.ts'

const UNSAID = { description: null, metadata: {}, updatedAt: null, isUnmade: false } as const

/** The real rules over volumes and words in memory. */
export function createFakeBlock(
  fake: FakeVolumeControls,
  core: Pick<Core, 'volumes' | 'exports' | 'volumeBackups' | 'jobs'>,
): Pick<Core, 'blockVolumes' | 'blockSnapshots' | 'blockAttachments'> {
  const { volumes, exports } = core
  const said = new Map<string, Partial<BlockVolumeRow> & Partial<BlockSnapshotRow>>()

  const volumeRows = () =>
    [...fake.volumes.values()].map((one): BlockVolumeRow => {
      const { id, groupId, host, pool, name, createdAt, origin, version } = one
      const row = {
        ...{
          id,
          groupId,
          host,
          pool,
          poolId: null,
          name,
          createdAt,
          origin,
          ...UNSAID,
          path: `${pool}/${name}`,
          phase: null,
        },
        ...{ sizeGib: Math.ceil(one.sizeBytes / GIB), snapshotId: null, sourceVolumeId: null, backupId: null },
        ...{ isBootable: false, isReadonly: false, attachments: [], status: 'available', ...said.get(id) },
        version: version + (said.get(id)?.version ?? 0),
      } as const
      const states = row.attachments.map(({ state }: { readonly state: string }) => state)
      const furthest = ['attached', 'attaching', 'reserved'].find((state) => states.includes(state)) ?? 'available'
      const status = row.phase ?? (furthest === 'attached' ? 'in-use' : furthest)
      return { ...row, status } as BlockVolumeRow // as: what is said of a volume is never a snapshot's status
    })
  const snapshotRows = () =>
    [...fake.volumeSnapshots.values()].map((one): BlockSnapshotRow => {
      const { id, groupId, volumeId, path, name, createdAt, version, sizeBytes } = one
      const row = { id, groupId, volumeId, path, name, ownName: name, createdAt, ...UNSAID, isDescribed: said.has(id) }
      const words = said.get(id) as Partial<BlockSnapshotRow> | undefined // as: said of a snapshot's id
      return {
        ...{ ...row, sizeGib: Math.ceil(sizeBytes / GIB), status: 'available', ...words },
        version: version + (words?.version ?? 0),
      }
    })

  function say(id: string, change: BlockVolumeChange & BlockSnapshotChange, now: Partial<BlockVolumeRow>): void {
    const { attach, settle, detach = [], claim: _, deleteJobId: __, ...words } = change
    const given = Object.fromEntries(Object.entries(words).filter(([, value]) => value !== undefined))
    const left = (now.attachments ?? []).filter((one) => !detach.includes(one.id))
    const kept = left.map((one) => (one.id === settle?.id ? settle : one))
    const fresh = { volumeId: id, initiator: null, connection: null, attachedAt: new Date(), createdAt: new Date() }
    const made = attach ? [{ ...attach, ...fresh }] : []
    const version = (said.get(id)?.version ?? 0) + 1
    said.set(id, { ...said.get(id), ...given, attachments: [...kept, ...made], version })
  }

  const find = <Row extends BlockVolumeRow | BlockSnapshotRow>(
    rows: readonly Row[],
    group: string | null,
    id: string,
  ) => rows.find((row) => row.id === id && (group === null || row.groupId === group))

  const storeOf = <Row extends BlockVolumeRow | BlockSnapshotRow>(rows: () => readonly Row[]) => ({
    find: async (group: string | null, id: string) => find(rows(), group, id),
    list: async (group: string | null, filter: BlockFilter, page: BlockPageRequest) =>
      pageOf(
        rows().filter((row) => (group === null || row.groupId === group) && isWanted(row, filter)),
        page,
      ),
    async describe({ id, name, description, metadata, ...rest }: Partial<BlockVolumeRow> & { readonly id: string }) {
      const { snapshotId = null, sourceVolumeId = null, backupId = null } = rest
      said.set(id, { name: name ?? null, description: description ?? null, metadata: metadata ?? {}, version: 1 })
      Object.assign(said.get(id) ?? {}, { snapshotId, sourceVolumeId, backupId })
    },
    async change(caller: Caller, id: string, decide: (row: Row) => BlockVolumeChange | undefined) {
      const row = find(rows(), caller.groupId, id)
      if (row === undefined) throw new FleetError('not_found', `there is no ${id}`)
      const change = decide(row)
      if (change) say(id, change, row as Partial<BlockVolumeRow>) // as: a snapshot has no attachments
      return find(rows(), caller.groupId, id) ?? row
    },
    forget: async () => undefined,
  })
  const store: BlockVolumeStore = {
    ...storeOf(volumeRows),
    summary: async () => ({ count: fake.volumes.size, sizeGib: 0, metadata: {} }),
    usage: async () => ({ volumes: fake.volumes.size, snapshots: fake.volumeSnapshots.size, sizeGib: 0 }),
  }
  const snapshots: BlockSnapshotStore = storeOf(snapshotRows)
  const servers = { find: async () => undefined }
  const attachmentRows = () =>
    volumeRows().flatMap(({ groupId, attachments }) => attachments.map((attachment) => ({ groupId, attachment })))
  const reader: BlockAttachmentReader = {
    find: async (_, id) => attachmentRows().find(({ attachment }) => attachment.id === id),
    list: async (_, { volumeId }) => ({
      items: attachmentRows().filter(({ attachment }) => (volumeId ?? attachment.volumeId) === attachment.volumeId),
      nextCursor: null,
    }),
  }
  const fleet = { pool: () => ({ accepts: true, name: 'tank' }), pools: () => [] }
  const connections = createBlockConnections({
    ...{ exports, jobs: core.jobs, secretOf: async () => 'a secret of 16' },
    exportReader: { find: (_group, wwn) => exports.get(SEER, wwn).catch(() => undefined) },
  })
  return {
    blockVolumes: createBlockVolumes({
      ...{
        store,
        volumes,
        connections,
        forgetSnapshot: async () => undefined,
        servers,
      },
      make: createBlockSources({
        ...{ volumes, backups: core.volumeBackups, store, snapshots, jobs: core.jobs },
        // as: of a fleet only its pools are asked for here
        fleet: fleet as unknown as Parameters<typeof createBlockSources>[0]['fleet'],
      }),
      snapshotsOf: async (volumeId) => snapshotRows().filter((row) => row.volumeId === volumeId),
    }),
    blockAttachments: createBlockAttachments({ store, reader, connections, servers }),
    blockSnapshots: createBlockSnapshots({ store: snapshots, volumeStore: store, volumes }),
  }
}

const SEER = { fleetRole: 'admin', role: 'admin' } as Caller // as: nothing else of it is looked at

function isWanted(row: BlockVolumeRow | BlockSnapshotRow, filter: BlockFilter): boolean {
  const { name, status, metadata = {}, volumeId } = filter
  return (
    (name === undefined || row.name === name) &&
    (status === undefined || row.status === status) &&
    (volumeId === undefined || ('volumeId' in row && row.volumeId === volumeId)) &&
    Object.entries(metadata).every(([key, value]) => row.metadata[key] === value)
  )
}

function pageOf<Row extends { readonly id: string }>(
  rows: readonly Row[],
  { limit, cursor, offset = 0, isCounted }: BlockPageRequest,
): BlockPage<Row> {
  const from = cursor === undefined ? 0 : rows.findIndex(({ id }) => id === cursor) + 1
  if (cursor !== undefined && from === 0) {
    throw new FleetError('invalid', 'marker: names nothing that is in this list', { field: 'marker' })
  }
  const items = rows.slice(from + offset, from + offset + limit)
  const page = { items, nextCursor: rows.length > from + offset + limit ? (items.at(-1)?.id ?? null) : null }
  return isCounted ? { ...page, count: rows.length } : page
}
