import type { RouteEntry, RouteInput, World } from './route-entries.ts'

/** Whatever version it has: the walk is about who may. */
const ANY_VERSION = { 'if-match': '*' }

export const documentIdOf = (uuid: string) => uuid.replaceAll('-', '').replace(/^(.{12}).*(.{12})$/, '$1$2')

/** A document of the first tenant, made by an admin of the fleet. @returns its id. */
async function make(world: World, collection: string, body: object): Promise<string> {
  const answer = await world.fleet.call('POST', `/api/v1/${collection}`, body, { token: world.tokens.fleet })
  return answer.body._id
}

const freshGroup = (world: World) => make(world, 'usergroups', { name: world.name() })
const freshUser = (world: World) => make(world, 'users', { name: world.name() })
const freshKey = (world: World) =>
  make(world, 'apikeys', { name: world.name(), user: null, usergroup: documentIdOf(world.red.groupId) })

type Fresh = (world: World) => Promise<string>

/** In the path. */
function at(fresh: Fresh, body?: object): (world: World) => Promise<RouteInput> {
  return async (world) => ({ params: { id: await fresh(world) }, headers: ANY_VERSION, body })
}

/** In the body. */
function inside(fresh: Fresh, body: object = {}): (world: World) => Promise<RouteInput> {
  return async (world) => ({ body: { _id: await fresh(world), ...body }, headers: ANY_VERSION })
}

/** The first tenant's own group as it is: its members are needed on. */
async function sameGroup(world: World): Promise<{ readonly id: string; readonly body: object }> {
  const id = documentIdOf(world.red.groupId)
  const { body } = await world.fleet.call('GET', `/api/v1/usergroups/${id}`, undefined, { token: world.tokens.fleet })
  return { id, body: { name: body.name, users: body.users } }
}

const redGroup = async (world: World) => documentIdOf(world.red.groupId)
const TAGS = { tags: { a: 'b' } }

/** Routes of a collection that only admins of the fleet may change; another tenant may not even know what is named. */
function fleetOwned(noun: string, fresh: Fresh): Readonly<Record<string, RouteEntry>> {
  const replaced = (input: RouteEntry['input']): RouteEntry => ({ as: 'fleet', ...(input && { input }) })
  return {
    [`cloudcasa.list${noun}s`]: { other: 200 },
    [`cloudcasa.get${noun}`]: { as: 'fleet', input: async (world) => ({ params: { id: await fresh(world) } }) },
    [`cloudcasa.replace${noun}`]: replaced(async (world) => at(fresh, { name: world.name() })(world)),
    [`cloudcasa.replace${noun}InCollection`]: replaced(async (world) => inside(fresh, { name: world.name() })(world)),
    [`cloudcasa.edit${noun}`]: { as: 'fleet', input: at(fresh, TAGS) },
    [`cloudcasa.delete${noun}`]: { as: 'fleet', input: at(fresh) },
    [`cloudcasa.delete${noun}InCollection`]: { as: 'fleet', input: inside(fresh) },
    [`cloudcasa.create${noun}`]: { as: 'fleet', other: 403, input: (world) => ({ body: { name: world.name() } }) },
  }
}

export const CLOUDCASA_ENTRIES: Readonly<Record<string, RouteEntry>> = {
  ...fleetOwned('UserGroup', freshGroup),
  // An admin of the group is enough for its own.
  'cloudcasa.getUserGroup': { input: async (world) => ({ params: { id: await redGroup(world) } }) },
  'cloudcasa.replaceUserGroup': {
    input: async (world) => {
      const { id, body } = await sameGroup(world)
      return { params: { id }, body, headers: ANY_VERSION }
    },
  },
  'cloudcasa.replaceUserGroupInCollection': {
    input: async (world) => {
      const { id, body } = await sameGroup(world)
      return { body: { _id: id, ...body }, headers: ANY_VERSION }
    },
  },
  'cloudcasa.editUserGroup': { input: at(redGroup, TAGS) },
  'cloudcasa.updateUserGroupAcls': { input: at(redGroup, { acls: [] }) },

  ...fleetOwned('User', freshUser),

  ...fleetOwned('ApiKey', freshKey),
  // Everybody has keys of its own.
  'cloudcasa.createApiKey': { other: 201, input: (world) => ({ body: { name: world.name() } }) },
}
