import { BACKUP_ENTRIES } from './backup-entries.ts'
import { BLOCK_ENTRIES } from './block-entries.ts'
import { CLOUDCASA_ENTRIES } from './cloudcasa-entries.ts'
import { EMULAB_ENTRIES } from './emulab-entries.ts'
import type { TestFleet } from './fleet.ts'
import { HOST_ENTRIES } from './host-entries.ts'
import { INSTANCE_ENTRIES } from './instance-entries.ts'
import { POINT_ENTRIES } from './point-entries.ts'
import { SCHEDULE_ENTRIES } from './schedule-entries.ts'
import type { Tenant } from './tenants.ts'
import { VOLUME_ENTRIES } from './volume-entries.ts'

/** Everything of the first tenant is called so: whatever another tenant reads must not hold it. */
export const MARK = 'red-only'

/** A fleet with two tenants, as the walk finds it. Tokens: of members of the first, of an admin of the other, of the whole fleet. */
export interface World {
  readonly fleet: TestFleet
  readonly red: Tenant
  readonly tokens: Readonly<Record<'viewer' | 'operator' | 'admin' | 'other' | 'fleet', string>>
  /** Makes a dataset of the first tenant. @returns its name. */
  dataset(): Promise<string>
  /** The same for a snapshot. */
  snapshot(): Promise<string>
  /** Names of the first tenant's things that another one has asked for. */
  readonly namedByOther: Set<string>
  /** A name that nobody has. */
  name(): string
  /** A job of the first tenant, in that state. @returns its id. */
  job(state: 'running' | 'failed' | 'succeeded'): Promise<string>
}

export interface RouteInput {
  /** For each `:name` or `*name` of the path. */
  readonly params?: Readonly<Record<string, string>>
  readonly query?: string
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/** How the walk calls one route. */
export interface RouteEntry {
  /** A request of the first tenant that is right. Called before each request, since mutations use up what they name. */
  readonly input?: (world: World) => RouteInput | Promise<RouteInput>
  /** What an admin of another tenant is answered to that request: 404 where nothing else is said. */
  readonly other?: number
  /** Whom it is for; a member of the first tenant with the role that the route asks for where nothing else is said. */
  readonly as?: 'fleet'
  /** What the right one is answered, where that is not the route's own status. */
  readonly status?: number
}

const ownList: RouteEntry = { other: 200 }
/** Belongs to no tenant: everybody with a role reads it. */
const shared = (entry: RouteEntry = {}): RouteEntry => ({ ...entry, other: 200 })

/** One for each route of each dialect: a route that is missing here fails the walk. */
export const ROUTE_ENTRIES: Readonly<Record<string, RouteEntry>> = {
  'docs.browse': {},
  'docs.getDocument': {},
  'docs.getAsset': { input: () => ({ params: { version: '0', file: 'none.js' } }), status: 404 },

  'zerofs.health': {},
  'zerofs.listDatasets': ownList,
  'zerofs.getDataset': { input: async (world) => ({ params: { name: await world.dataset() } }) },
  // A name is taken in its own group only.
  'zerofs.createDataset': { input: (world) => ({ body: { name: world.name() } }), other: 201 },
  'zerofs.deleteDataset': { input: async (world) => ({ params: { name: await world.dataset() } }), other: 500 },
  'zerofs.clone': {
    input: async (world) => ({ body: { source: await world.dataset(), destination: world.name() } }),
    other: 500,
  },
  'zerofs.listSnapshots': ownList,
  'zerofs.getSnapshot': { input: async (world) => ({ params: { name: await world.snapshot() } }) },
  'zerofs.createSnapshot': {
    input: async (world) => ({ body: { source: await world.dataset(), name: world.name() } }),
    other: 500,
  },
  'zerofs.deleteSnapshot': { input: async (world) => ({ params: { name: await world.snapshot() } }), other: 500 },
  'zerofs.restoreSnapshot': {
    input: async (world) => ({ body: { snapshot: await world.snapshot(), source: '/', destination: '/a' } }),
    other: 500,
  },

  'qnap.login': { input: () => ({ body: { username: 'nobody', password: 'wrong' } }), status: 401 },
  'qnap.getLogin': { status: 401 },
  'qnap.refreshLogin': { status: 401 },
  'qnap.logout': { status: 401 },

  ...BACKUP_ENTRIES,
  ...BLOCK_ENTRIES,
  ...CLOUDCASA_ENTRIES,
  ...EMULAB_ENTRIES,
  ...INSTANCE_ENTRIES,
  ...POINT_ENTRIES,
  ...SCHEDULE_ENTRIES,
  ...VOLUME_ENTRIES,

  'fleet.listHosts': shared(),
  'fleet.getHost': shared({ input: () => ({ params: { id: 'alpha' } }) }),
  ...HOST_ENTRIES,
  'fleet.listPools': shared(),
  'fleet.getPool': shared({ input: () => ({ params: { id: 'alpha-pool' } }) }),
  'fleet.listJobs': ownList,
  'fleet.getJob': { input: async (world) => ({ params: { id: await world.job('succeeded') } }) },
  'fleet.cancelJob': { input: async (world) => ({ params: { id: await world.job('running') } }) },
  'fleet.retryJob': { input: async (world) => ({ params: { id: await world.job('failed') } }) },
  'fleet.pollEvents': { input: () => ({ query: '?since=0&timeout=0' }), other: 200 },
  'fleet.streamEvents': { input: () => ({ query: '?since=0' }), other: 200 },
  'fleet.socketEvents': { other: 101, status: 101 },
  'fleet.listAudit': ownList,
  'fleet.listStationBackups': { as: 'fleet', other: 403 },
  // It has no directory for them.
  'fleet.backUpStation': { as: 'fleet', other: 403, status: 503 },
  'fleet.alive': {},
  'fleet.ready': {},
  'fleet.scrapeMetrics': { as: 'fleet', other: 403 },
}
