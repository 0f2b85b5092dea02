import type { RouteEntry, RouteInput, World } from './route-entries.ts'

const SIZE_BYTES = 1_048_576
const KEY = 'tier'
const metadata = { [KEY]: 'gold' }

const asOperator = (world: World) => ({ token: world.tokens.operator })

/** A volume of the first tenant. */
async function volume(world: World): Promise<{ readonly id: string; readonly path: string }> {
  const made = await world.fleet.call(
    'POST',
    '/api/v1/volumes',
    { name: world.name(), size_bytes: SIZE_BYTES },
    asOperator(world),
  )
  return made.body
}

/** A snapshot of one such. */
async function snapshot(world: World): Promise<{ readonly id: string }> {
  const { path } = await volume(world)
  const at = `/api/v1/volumes/${encodeURIComponent(path)}/snapshots`
  return (await world.fleet.call('POST', at, { name: 'snapshot-1' }, asOperator(world))).body
}

type Thing = (world: World) => Promise<{ readonly id: string }>

/** Below the project of the first tenant, for which nobody else acts. */
function inProject(rest: (world: World) => RouteInput | Promise<RouteInput> = () => ({})): RouteEntry {
  return {
    async input(world) {
      const { params, ...others } = await rest(world)
      return { params: { project: world.red.groupId, ...params }, ...others }
    },
    other: 403,
  }
}

function about(thing: Thing, body?: unknown): RouteEntry {
  return inProject(async (world) => {
    const { id } = await thing(world)
    return { params: { id }, ...(body === undefined ? {} : { body }) }
  })
}

function metadataOf(kind: 'Volume' | 'Snapshot', thing: Thing): Readonly<Record<string, RouteEntry>> {
  const withKey: Thing = async (world) => {
    const made = await thing(world)
    const path = `/v3/${world.red.groupId}/${kind.toLowerCase()}s/${made.id}/metadata`
    await world.fleet.call('POST', path, { metadata }, asOperator(world))
    return made
  }
  const item = (body?: unknown) =>
    inProject(async (world) => {
      const { id } = await withKey(world)
      return { params: { id, key: KEY }, ...(body === undefined ? {} : { body }) }
    })
  return {
    [`block.get${kind}Metadata`]: about(thing),
    [`block.add${kind}Metadata`]: about(thing, { metadata }),
    [`block.replace${kind}Metadata`]: about(thing, { metadata }),
    [`block.get${kind}MetadataItem`]: item(),
    [`block.set${kind}MetadataItem`]: item({ meta: metadata }),
    [`block.delete${kind}MetadataItem`]: item(),
  }
}

/** Of a volume of the first tenant, for a server that is none of ours. */
const SERVER = '11111111-2222-4333-8444-555555555555'
const reserved: Thing = async (world) => {
  const { id } = await volume(world)
  const body = { attachment: { volume_uuid: id, instance_uuid: SERVER, connector: {} } }
  return (await world.fleet.call('POST', `/v3/${world.red.groupId}/attachments`, body, asOperator(world))).body
    .attachment
}
/** Nobody can connect in a fleet that lends nothing. */
const refused: RouteEntry = {
  ...about(reserved, { attachment: { connector: { initiator: 'no iSCSI name' } } }),
  status: 400,
}

const gibOf = (world: World) => ({ body: { volume: { size: 1, name: world.name() } } })
const snapshotOf = async (world: World) => ({
  body: { snapshot: { volume_id: (await volume(world)).id, name: world.name() } },
})
const ACTION = { 'os-reserve': null }
const ownList: RouteEntry = { other: 200 }
const one = (thing: Thing, body?: unknown): RouteEntry => ({
  async input(world) {
    const { id } = await thing(world)
    return { params: { id }, ...(body === undefined ? {} : { body }) }
  },
})

export const BLOCK_ENTRIES: Readonly<Record<string, RouteEntry>> = {
  'block.listVersions': {},
  'block.getVersion': {},
  'block.listVolumes': inProject(),
  'block.listVolumesDetailed': inProject(),
  'block.createVolume': inProject(gibOf),
  'block.getVolume': about(volume),
  'block.updateVolume': about(volume, { volume: { description: 'x' } }),
  'block.deleteVolume': about(volume),
  'block.actOnVolume': about(volume, ACTION),
  ...metadataOf('Volume', volume),
  'block.listSnapshots': inProject(),
  'block.listSnapshotsDetailed': inProject(),
  'block.createSnapshot': inProject(snapshotOf),
  'block.getSnapshot': about(snapshot),
  'block.updateSnapshot': about(snapshot, { snapshot: { description: 'x' } }),
  'block.deleteSnapshot': about(snapshot),
  ...metadataOf('Snapshot', snapshot),
  'block.getVolumesSummary': inProject(),
  'block.listAttachments': inProject(),
  'block.listAttachmentsDetailed': inProject(),
  'block.createAttachment': inProject(async (world) => ({
    body: { attachment: { volume_uuid: (await volume(world)).id, instance_uuid: SERVER } },
  })),
  'block.getAttachment': about(reserved),
  'block.updateAttachment': refused,
  'block.completeAttachment': { ...about(reserved, { 'os-complete': null }), status: 400 },
  'block.deleteAttachment': about(reserved),
  'block.listExtensions': inProject(),
  'block.listResourceFilters': inProject(),
  'block.listTypes': inProject(),
  'block.getType': inProject(() => ({ params: { id: 'alpha-pool' } })),
  'block.listPools': inProject(),
  'block.listZones': inProject(),
  'block.getLimits': inProject(),
  'block.getQuotas': inProject((world) => ({ params: { id: world.red.groupId } })),

  'gateway.createVolume': { input: gibOf, other: 202, status: 202 },
  'gateway.createGatewayVolume': { input: gibOf, other: 202, status: 202 },
  'gateway.actOnVolume': { ...one(volume, ACTION), status: 202 },
  'gateway.actOnGatewayVolume': { ...one(volume, ACTION), status: 202 },
  'gateway.listGatewayVolumes': ownList,
  'gateway.getGatewayVolume': one(volume),
  'gateway.deleteGatewayVolume': one(volume),
  'gateway.listGatewaySnapshots': ownList,
  'gateway.getGatewaySnapshot': one(snapshot),
  'gateway.createGatewaySnapshot': { input: snapshotOf },
  'gateway.deleteGatewaySnapshot': one(snapshot),
}
