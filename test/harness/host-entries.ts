import { randomBytes } from 'node:crypto'
import { nkeys } from 'nats'
import type { RouteEntry, RouteInput, World } from './route-entries.ts'

let count = 0

function newHost(): string {
  count += 1
  return `spare-${count}`
}

async function enrolment(world: World): Promise<{ name: string; token: string }> {
  const name = newHost()
  const { body } = await world.fleet.call('POST', '/api/v1/hosts/enrolments', { name })
  return { name, token: body.token }
}

function publicKeys() {
  return {
    nats_public_key: nkeys.createUser().getPublicKey(),
    seal_public_key: randomBytes(32).toString('base64'),
  }
}

/** A host that was enrolled and whose agent never came. */
async function spareHost(world: World): Promise<RouteInput> {
  const { name, token } = await enrolment(world)
  await world.fleet.call('POST', '/api/v1/hosts/enrol', { token, ...publicKeys() })
  return { params: { id: name } }
}

/** Hosts belong to no tenant: whoever changes one needs a role over the fleet. */
const overTheFleet = (input: RouteEntry['input']): RouteEntry => ({
  as: 'fleet',
  other: 403,
  ...(input ? { input } : {}),
})

export const HOST_ENTRIES: Readonly<Record<string, RouteEntry>> = {
  'fleet.createEnrolment': overTheFleet(() => ({ body: { name: newHost() } })),
  'fleet.enrolHost': {
    input: async (world) => ({ body: { token: (await enrolment(world)).token, ...publicKeys() } }),
  },
  'fleet.rotateHost': overTheFleet(() => ({ params: { id: 'alpha' } })),
  'fleet.revokeHost': overTheFleet(spareHost),
  'fleet.drainHost': overTheFleet(spareHost),
  'fleet.undrainHost': overTheFleet(spareHost),
  'fleet.removeHost': overTheFleet(spareHost),
}
