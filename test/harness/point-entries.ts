import { READ_TIMEOUT_MS } from '../../shared/wire/reads.ts'
import type { RouteEntry, RouteInput, World } from './route-entries.ts'

/** Nobody listens there, and agents would not go there. */
const NOWHERE = '127.0.0.1'
const UNREACHABLE = 503
const REFUSED = 403

const asOperator = (world: World) => ({ token: world.tokens.operator })

/** A point of the first tenant, good. @returns its id. */
async function point(world: World): Promise<string> {
  const source = { dataset: await world.dataset() }
  const { body } = await world.fleet.call('POST', '/api/v1/points', { source }, asOperator(world))
  await world.fleet.ended(body.job_id, 6 * READ_TIMEOUT_MS)
  return body.id
}

/** A target of the first tenant. */
async function target(world: World): Promise<{ readonly id: string; readonly number: string }> {
  const body = { name: world.name(), ipaddr: `${NOWHERE}:9`, username: 'admin', password: 'admin' }
  const made = await world.fleet.call('POST', '/api/v1/target/', body, asOperator(world))
  const shown = await world.fleet.call('GET', `/api/v1/targets/${made.body.id}`, undefined, asOperator(world))
  return { id: shown.body.id, number: String(made.body.id) }
}

/** With a point in the path. */
function aboutPoint(body?: (world: World) => object | Promise<object>): RouteEntry {
  return { input: async (world) => ({ params: { id: await point(world) }, body: await body?.(world) }) }
}

/** With a target in the path, by its uuid or by its number. */
function aboutTarget(by: 'id' | 'number', rest: RouteInput & Pick<RouteEntry, 'status'> = {}): RouteEntry {
  const { status, params, ...input } = rest
  const entry: RouteEntry = {
    input: async (world) => ({ params: { id: (await target(world))[by], ...params }, ...input }),
  }
  return status === undefined ? entry : { ...entry, status }
}

const ownList: RouteEntry = { other: 200 }

export const POINT_ENTRIES: Readonly<Record<string, RouteEntry>> = {
  'fleet.createPoint': { input: async (world) => ({ body: { source: { dataset: await world.dataset() } } }) },
  'fleet.listPoints': ownList,
  'fleet.getPoint': aboutPoint(),
  'fleet.deletePoint': aboutPoint(),
  'fleet.pinPoint': aboutPoint(),
  'fleet.unpinPoint': aboutPoint(),
  'fleet.listPointFiles': aboutPoint(),
  'fleet.diffPoints': {
    input: async (world) => ({ params: { id: await point(world), other: await point(world) } }),
  },
  'fleet.verifyPoint': aboutPoint(),
  'fleet.rehearsePoint': aboutPoint(),
  'fleet.restorePoint': aboutPoint(async (world) => ({
    destination: { dataset: await world.dataset(), path: '/restored' },
  })),

  'fleet.listTargets': ownList,
  'fleet.getTarget': aboutTarget('id'),
  'fleet.createTarget': {
    input: (world) => ({
      body: { protocol: 'webdav', name: world.name(), host: NOWHERE, username: 'admin', password: 'admin' },
    }),
    other: 201,
  },
  'fleet.changeTarget': aboutTarget('id', { body: { description: 'changed' } }),
  'fleet.deleteTarget': aboutTarget('id'),
  'fleet.pingTarget': aboutTarget('id'),
  'fleet.listTargetFiles': aboutTarget('id', { status: REFUSED }),

  'qnap.listTargets': ownList,
  'qnap.getTarget': aboutTarget('number'),
  'qnap.createTarget': {
    input: (world) => ({ body: { name: world.name(), ipaddr: NOWHERE, username: 'admin', password: 'admin' } }),
    other: 200,
  },
  'qnap.changeTarget': aboutTarget('number', { body: { desc: 'changed' } }),
  'qnap.deleteTarget': aboutTarget('number'),
  'qnap.pingTarget': aboutTarget('number'),
  'qnap.listTargetDirs': aboutTarget('number', { status: UNREACHABLE }),
  'qnap.listTargetDirsBelow': aboutTarget('number', { params: { path: 'a' }, status: UNREACHABLE }),
  'qnap.listLocalDirs': ownList,
  'qnap.listLocalDirsBelow': {
    // What is not there is not there for anybody.
    input: async (world) => {
      await point(world)
      return { params: { path: 'nothing' } }
    },
    status: 404,
  },
}
