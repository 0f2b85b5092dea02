import { randomUUID } from 'node:crypto'
import type { RouteEntry, World } from './route-entries.ts'

const SIZE_BYTES = 1_048_576

/** A volume of the first tenant. @returns its id. */
async function volume({ fleet, tokens, name }: World): Promise<string> {
  const body = { name: name(), size_bytes: SIZE_BYTES }
  const made = await fleet.call('POST', '/api/v1/volumes', body, { token: tokens.operator })
  return made.body.id
}

/** An incremental backup of such a volume, as a row: it has no point yet. */
async function backup(world: World): Promise<{ readonly id: string }> {
  const { fleet, red, name } = world
  const [id, volumeId] = [randomUUID(), await volume(world)]
  await fleet.sql(
    `insert into volume_backup (id, group_id, name, volume_id, volume, series_id, incremental, retention, asked_bytes, status, fail_reason)
     values ($1, $2, $3, $4, 'alpha-pool/a', gen_random_uuid(), true, 0, $5, 'error', 'it has no point')`,
    [id, red.groupId, name(), volumeId, SIZE_BYTES],
  )
  return { id }
}

/** A snapshot of an instance of the first tenant, as a row: it has no parts. */
async function instanceSnapshot({ fleet, red, name }: World): Promise<{ readonly id: string }> {
  const id = randomUUID()
  await fleet.sql(
    `insert into instance_snapshot (id, group_id, name, instance_id, instance_type, instance_name, host, status)
     values ($1, $2, $3, gen_random_uuid(), 'lxc', 'web', 'alpha', 'error')`,
    [id, red.groupId, name()],
  )
  return { id }
}

/** An incremental backup of an instance that is gone, as a row: it has no parts. */
async function instanceBackup({ fleet, red, name }: World): Promise<{ readonly id: string }> {
  const id = randomUUID()
  await fleet.sql(
    `insert into instance_backup (id, group_id, name, instance_id, instance_type, instance_name, host, series_id, incremental, asked_state)
     values ($1, $2, $3, gen_random_uuid(), 'lxc', 'web', 'alpha', gen_random_uuid(), true, 'STOPPED')`,
    [id, red.groupId, name()],
  )
  return { id }
}

const aboutInstanceBackup: RouteEntry = { input: async (world) => ({ params: await instanceBackup(world) }) }

const aboutSnapshot: RouteEntry = { input: async (world) => ({ params: await instanceSnapshot(world) }) }

const aboutBackup: RouteEntry = { input: async (world) => ({ params: await backup(world) }) }

function entriesOf(noun: string): Readonly<Record<string, RouteEntry>> {
  return {
    [`backup.list${noun}s`]: { other: 200 },
    [`backup.get${noun}`]: aboutBackup,
    [`backup.create${noun}`]: {
      input: async (world) => ({ body: { backup: { name: world.name(), volume_id: await volume(world) } } }),
    },
    [`backup.actOn${noun}`]: {
      input: async (world) => ({ params: await backup(world), body: { update: {} } }),
    },
    [`backup.delete${noun}`]: aboutBackup,
  }
}

function snapshotEntriesOf(noun: string): Readonly<Record<string, RouteEntry>> {
  return {
    [`backup.list${noun}s`]: { other: 200 },
    [`backup.get${noun}`]: aboutSnapshot,
    // Of an instance that nobody has.
    [`backup.create${noun}`]: {
      input: (world) => ({ body: { snapshot: { name: world.name(), instance_id: randomUUID() } } }),
      status: 404,
    },
    [`backup.delete${noun}`]: aboutSnapshot,
  }
}

function instanceBackupEntriesOf(noun: string): Readonly<Record<string, RouteEntry>> {
  return {
    [`backup.list${noun}s`]: { other: 200 },
    [`backup.get${noun}`]: aboutInstanceBackup,
    // Of an instance that nobody has.
    [`backup.create${noun}`]: {
      input: (world) => ({ body: { backup: { name: world.name(), instance_id: randomUUID() } } }),
      status: 404,
    },
    [`backup.actOn${noun}`]: {
      input: async (world) => ({ params: await instanceBackup(world), body: { update: {} } }),
      status: 409,
    },
    [`backup.delete${noun}`]: aboutInstanceBackup,
  }
}

export const BACKUP_ENTRIES: Readonly<Record<string, RouteEntry>> = {
  ...entriesOf('VolumeBackup'),
  ...entriesOf('BlockBackup'),
  ...snapshotEntriesOf('InstanceSnapshot'),
  ...snapshotEntriesOf('ComputeSnapshot'),
  ...instanceBackupEntriesOf('InstanceBackup'),
  ...instanceBackupEntriesOf('ComputeBackup'),
}
