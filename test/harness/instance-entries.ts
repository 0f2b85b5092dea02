import { randomUUID } from 'node:crypto'
import { documentIdOf } from './cloudcasa-entries.ts'
import type { RouteEntry, World } from './route-entries.ts'

/** A container of the first tenant, as a row: its host has none, so what is ordered of it is accepted and then fails. */
async function instance({ fleet, red, name }: World): Promise<{ readonly id: string }> {
  const id = randomUUID()
  await fleet.sql(
    `insert into instance (id, group_id, host_id, type, ref, name, state)
     select $1, $2, id, 'lxc', $3, $3, 'STOPPED' from host where name = 'alpha'`,
    [id, red.groupId, name()],
  )
  return { id }
}

/** A migration of such a container that is over. */
async function migration(world: World): Promise<{ readonly id: string }> {
  const id = randomUUID()
  const container = await instance(world)
  await world.fleet.sql(
    `insert into instance_move (id, group_id, instance_id, type, name, from_host, to_host, phase, step_id, outcome, asked_by, ended_at)
     values ($1, $2, $3, 'lxc', 'moved', 'alpha', 'beta', 'ended', $4, 'failed', 'test', now())`,
    [id, world.red.groupId, container.id, randomUUID()],
  )
  return { id }
}

/** With one in the path. */
function about(body?: (world: World) => object): RouteEntry {
  return { input: async (world) => ({ params: await instance(world), body: body?.(world) }) }
}

export const INSTANCE_ENTRIES: Readonly<Record<string, RouteEntry>> = {
  'fleet.listInstances': { other: 200 },
  'fleet.getInstance': about(),
  // Its own group: what it is handed over to must be there.
  'fleet.assignInstance': {
    ...about(({ red }) => ({ group: documentIdOf(red.groupId) })),
    as: 'fleet',
    other: 403,
  },
  'fleet.cloneInstance': about((world) => ({ name: world.name() })),
  'fleet.startInstance': about(),
  'fleet.stopInstance': about(),
  // Its target is one that nobody has.
  'fleet.migrateInstance': { ...about(() => ({ host: 'beta', target: randomUUID() })), status: 404, as: 'fleet' },
  'fleet.listMigrations': { other: 200 },
  'fleet.getMigration': { input: async (world) => ({ params: await migration(world) }) },
  'fleet.stopMigration': { input: async (world) => ({ params: await migration(world) }) },
}
