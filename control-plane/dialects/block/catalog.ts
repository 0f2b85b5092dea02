import { z } from 'zod'
import type { Caller } from '../../core/caller.ts'
import type { Core } from '../../core/core.ts'
import type { Pool } from '../../core/hosts.ts'
import { route } from '../../http/route.ts'
import { ZONE } from './present.ts'
import { ProjectItem, ProjectParams } from './schemas.ts'

const GIB = 2 ** 30
const PAGE = 500
/** More pools are not told of. */
const POOLS_MAX = 10_000

async function allPools(core: Core, caller: Caller): Promise<readonly Pool[]> {
  const pools: Pool[] = []
  let cursor: string | undefined
  do {
    const page = await core.hosts.pools(caller, { limit: PAGE, cursor })
    pools.push(...page.items)
    cursor = page.nextCursor ?? undefined
  } while (cursor !== undefined && pools.length < POOLS_MAX)
  return pools
}

const gib = (bytes: number) => Math.floor(bytes / GIB)

const TypeView = z.object({
  id: z.uuid(),
  name: z.string(),
  description: z.string(),
  is_public: z.boolean(),
  'os-volume-type-access:is_public': z.boolean(),
  qos_specs_id: z.null(),
  extra_specs: z.record(z.string(), z.string()),
})

function presentType({ id, name, host, driver }: Pool): z.output<typeof TypeView> {
  return {
    ...{ id, name, description: `Pool '${name}' of host '${host}'`, is_public: true, qos_specs_id: null },
    'os-volume-type-access:is_public': true,
    extra_specs: { driver },
  }
}

export const listTypes = route({
  operation: 'listTypes',
  method: 'GET',
  path: '/v3/:project/types',
  summary: 'Types of volumes: the pools that they may lie in',
  access: 'viewer',
  status: 200,
  params: ProjectParams,
  result: z.object({ volume_types: z.array(TypeView) }),
  async handle({ caller }, core) {
    return { status: 200, body: { volume_types: (await allPools(core, caller)).map(presentType) } }
  },
})

export const getType = route({
  operation: 'getType',
  method: 'GET',
  path: '/v3/:project/types/:id',
  summary: 'One type, by id or name',
  access: 'viewer',
  status: 200,
  params: ProjectItem,
  result: z.object({ volume_type: TypeView }),
  errors: [404],
  async handle({ params, caller }, core) {
    return { status: 200, body: { volume_type: presentType(await core.hosts.pool(caller, params.id)) } }
  },
})

const PoolView = z.object({
  name: z.string().meta({ example: 'alpha@holdfast#tank' }),
  capabilities: z
    .object({
      pool_name: z.string(),
      volume_backend_name: z.string(),
      storage_protocol: z.string(),
      driver_version: z.string(),
      vendor_name: z.string(),
      total_capacity_gb: z.int(),
      free_capacity_gb: z.int(),
      thin_provisioning_support: z.boolean(),
      multiattach: z.boolean(),
      QoS_support: z.boolean(),
    })
    .optional(),
})

export const listPools = route({
  operation: 'listPools',
  method: 'GET',
  path: '/v3/:project/scheduler-stats/get_pools',
  summary: 'Pools, and with `detail` what they have',
  access: 'viewer',
  status: 200,
  params: ProjectParams,
  query: z.object({ detail: z.string().max(10).optional() }),
  result: z.object({ pools: z.array(PoolView) }),
  async handle({ query, caller }, core) {
    const isDetailed = /^(1|t|true|yes)$/i.test(query.detail ?? '')
    const pools = (await allPools(core, caller)).map(({ name, host, driver, sizeBytes, freeBytes }) => ({
      name: `${host}@holdfast#${name}`,
      ...(isDetailed
        ? {
            capabilities: {
              ...{
                pool_name: name,
                volume_backend_name: 'holdfast',
                storage_protocol: 'iSCSI',
                driver_version: driver,
              },
              ...{ vendor_name: 'Holdfast', total_capacity_gb: gib(sizeBytes), free_capacity_gb: gib(freeBytes) },
              ...{ thin_provisioning_support: true, multiattach: false, QoS_support: false },
            },
          }
        : {}),
    }))
    return { status: 200, body: { pools } }
  },
})

export const listZones = route({
  operation: 'listZones',
  method: 'GET',
  path: '/v3/:project/os-availability-zone',
  summary: 'The one availability zone',
  access: 'viewer',
  status: 200,
  params: ProjectParams,
  result: z.object({
    availabilityZoneInfo: z.array(z.object({ zoneName: z.string(), zoneState: z.object({ available: z.boolean() }) })),
  }),
  handle: () => ({
    status: 200,
    body: { availabilityZoneInfo: [{ zoneName: ZONE, zoneState: { available: true } }] },
  }),
})

/** Nobody is bounded. */
const NO_LIMIT = -1
const LIMITS = {
  maxTotalVolumes: NO_LIMIT,
  maxTotalSnapshots: NO_LIMIT,
  maxTotalBackups: NO_LIMIT,
  maxTotalVolumeGigabytes: NO_LIMIT,
  maxTotalBackupGigabytes: NO_LIMIT,
} as const

const Absolute = z.object({
  maxTotalVolumes: z.int(),
  maxTotalSnapshots: z.int(),
  maxTotalBackups: z.int(),
  maxTotalVolumeGigabytes: z.int(),
  maxTotalBackupGigabytes: z.int(),
  totalVolumesUsed: z.int(),
  totalSnapshotsUsed: z.int(),
  totalGigabytesUsed: z.int().meta({ description: 'Of volumes and snapshots' }),
})

export const getLimits = route({
  operation: 'getLimits',
  method: 'GET',
  path: '/v3/:project/limits',
  summary: 'What the project has, and that it has no limits',
  access: 'viewer',
  status: 200,
  params: ProjectParams,
  result: z.object({ limits: z.object({ rate: z.array(z.unknown()), absolute: Absolute }) }),
  async handle({ caller }, core) {
    const { volumes, snapshots, sizeGib } = await core.blockVolumes.usage(caller)
    const used = { totalVolumesUsed: volumes, totalSnapshotsUsed: snapshots, totalGigabytesUsed: sizeGib }
    return { status: 200, body: { limits: { rate: [], absolute: { ...LIMITS, ...used } } } }
  },
})

export const listExtensions = route({
  operation: 'listExtensions',
  method: 'GET',
  path: '/v3/:project/extensions',
  summary: 'Extensions of the API, as its clients look for them: none',
  access: 'viewer',
  status: 200,
  params: ProjectParams,
  result: z.object({ extensions: z.array(z.never()) }),
  handle: () => ({ status: 200, body: { extensions: [] } }),
})

/** Of what has filters, which are looked at. */
const FILTERS = {
  volume: ['name', 'status', 'metadata', 'bootable', 'created_at', 'updated_at'],
  snapshot: ['name', 'status', 'metadata', 'volume_id', 'created_at', 'updated_at'],
  attachment: ['volume_id', 'instance_id', 'status', 'attach_status'],
} as const

export const listResourceFilters = route({
  operation: 'listResourceFilters',
  method: 'GET',
  path: '/v3/:project/resource_filters',
  summary: 'What lists can be filtered by',
  access: 'viewer',
  status: 200,
  params: ProjectParams,
  query: z.object({ resource: z.string().max(255).optional() }),
  result: z.object({ resource_filters: z.array(z.object({ resource: z.string(), filters: z.array(z.string()) })) }),
  handle({ query }) {
    const all = Object.entries(FILTERS).map(([resource, filters]) => ({ resource, filters: [...filters] }))
    const wanted = all.filter(({ resource }) => (query.resource ?? resource) === resource)
    return { status: 200, body: { resource_filters: wanted } }
  },
})
