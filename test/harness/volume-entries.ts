import { randomUUID } from 'node:crypto'
import type { RouteEntry, RouteInput, World } from './route-entries.ts'
import { lacksTool } from './system-packages.ts'

const SIZE_BYTES = 1_048_576
const SNAPSHOT = 'snapshot-1'
const INITIATOR = 'iqn.2026-01.test:initiator'

/** Nothing is exported where no daemon for it is installed. */
const UNAVAILABLE = 503

const asOperator = (world: World) => ({ token: world.tokens.operator })

/** A volume of the first tenant. @returns its path. */
async function volume(world: World): Promise<string> {
  const body = { name: world.name(), size_bytes: SIZE_BYTES }
  const made = await world.fleet.call('POST', '/api/v1/volumes', body, asOperator(world))
  return made.body.path
}

/** Of such a volume. @returns the volume's path. */
async function snapshot(world: World): Promise<string> {
  const path = await volume(world)
  const snapshots = `/api/v1/volumes/${encodeURIComponent(path)}/snapshots`
  await world.fleet.call('POST', snapshots, { name: SNAPSHOT }, asOperator(world))
  return path
}

const wanted = async (world: World) => ({
  volume: await volume(world),
  wwn: `iqn.2026-01.test:${world.name()}`,
  initiators: [INITIATOR],
})

/** An export of the first tenant, as a row: its host knows nothing of it. */
async function exported({ fleet, red, name }: World): Promise<{ readonly id: string }> {
  const [id, called] = [randomUUID(), name()]
  await fleet.sql(
    `insert into export (id, group_id, pool_id, wwn, volume, initiators, state)
     select $1, $2, id, $3, $4, $5, 'available' from pool where name = 'alpha-pool'`,
    [id, red.groupId, `iqn.2026-01.test:${called}`, `alpha-pool/${called}`, JSON.stringify([INITIATOR])],
  )
  return { id }
}

/** A batch of the first tenant that is over. */
async function batch({ fleet, red }: World): Promise<{ readonly id: string }> {
  const id = randomUUID()
  await fleet.sql(
    `insert into export_batch (id, group_id, type, requested, done, errors, created_by)
     values ($1, $2, 'delete', 1, '[{"n": 0, "volume": false}]', '[]', 'test')`,
    [id, red.groupId],
  )
  return { id }
}

/** With a volume in the path. */
function aboutVolume(rest: (world: World) => RouteInput = () => ({})): RouteEntry {
  return { input: async (world) => ({ params: { volume: await volume(world) }, ...rest(world) }) }
}

const ownList: RouteEntry = { other: 200 }

export const VOLUME_ENTRIES: Readonly<Record<string, RouteEntry>> = {
  'fleet.listPoolVolumes': { input: () => ({ params: { pool: 'alpha-pool' } }), as: 'fleet', other: 403 },
  'fleet.listVolumes': ownList,
  // A name is taken in its pool, whoever has it.
  'fleet.createVolume': { input: (world) => ({ body: { name: world.name(), size_bytes: SIZE_BYTES } }), other: 201 },
  'fleet.getVolume': aboutVolume(),
  'fleet.resizeVolume': aboutVolume(() => ({ body: { size_bytes: 2 * SIZE_BYTES } })),
  'fleet.deleteVolume': aboutVolume(),
  'fleet.snapshotVolume': aboutVolume(() => ({ body: { name: SNAPSHOT } })),
  'fleet.listVolumeSnapshots': aboutVolume(),
  'fleet.deleteVolumeSnapshot': {
    input: async (world) => ({ params: { volume: await snapshot(world), name: SNAPSHOT } }),
  },
  'fleet.cloneVolume': {
    input: async (world) => ({
      params: { volume: await snapshot(world) },
      body: { name: world.name(), snapshot: SNAPSHOT },
    }),
  },
  'fleet.rollbackVolume': {
    input: async (world) => ({ params: { volume: await snapshot(world) }, body: { snapshot: SNAPSHOT } }),
  },
  'fleet.listExports': ownList,
  'fleet.createExport': {
    input: async (world) => ({ body: await wanted(world) }),
    ...(lacksTool('tgtd') === undefined ? {} : { status: UNAVAILABLE }),
  },
  'fleet.getExport': { input: async (world) => ({ params: await exported(world) }) },
  'fleet.deleteExport': { input: async (world) => ({ params: await exported(world) }) },
  'fleet.createExportBatch': { input: async (world) => ({ body: { create: [await wanted(world)] } }), other: 202 },
  'fleet.getExportBatch': { input: async (world) => ({ params: await batch(world) }) },
}
