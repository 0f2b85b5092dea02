import type { RouteEntry, World } from './route-entries.ts'

const CONFLICT = 409

async function backupBody(world: World) {
  return {
    job_name: world.name(),
    container_id: await world.dataset(),
    type: 'dataset',
    dest: { target: 'local', path: '/walk' },
    at: { repeat: 'daily', start: 60 },
  }
}

async function restoreBody(world: World) {
  return {
    job_name: world.name(),
    container_id: world.name(),
    type: 'dataset',
    src: { target: 'local', path: '/walk', portfolio: world.name() },
    disable: true,
  }
}

/** A schedule or restore task of the first tenant. @returns its number. */
async function made(world: World, path: string, body: object): Promise<string> {
  const { body: answer } = await world.fleet.call('POST', path, body, { token: world.tokens.operator })
  return String(answer.id)
}

const schedule = async (world: World) => made(world, '/api/v1/backup', await backupBody(world))
const task = async (world: World) => made(world, '/api/v1/restore', await restoreBody(world))

function about(thing: (world: World) => Promise<string>, body?: object): RouteEntry {
  return { input: async (world) => ({ params: { id: await thing(world) }, body }) }
}

const ownList: RouteEntry = { other: 200 }

export const SCHEDULE_ENTRIES: Readonly<Record<string, RouteEntry>> = {
  'qnap.createBackup': { input: async (world) => ({ body: await backupBody(world) }), other: 200 },
  'qnap.listBackups': ownList,
  'qnap.getProgress': { input: () => ({ query: '?since=0&timeout=0' }), other: 200 },
  'qnap.getBackup': about(schedule),
  'qnap.changeBackup': about(schedule, { at: { start: 61 } }),
  'qnap.runBackup': about(schedule),
  'qnap.stopBackup': about(schedule),
  'qnap.deleteBackup': about(schedule),
  'qnap.createRestore': { input: async (world) => ({ body: await restoreBody(world) }), other: 200 },
  'qnap.listRestores': ownList,
  'qnap.getRestore': about(task),
  'qnap.stopRestore': about(task),
  'qnap.deleteRestore': about(task),

  'fleet.listSchedules': ownList,
  'fleet.getSchedule': about(schedule),
  'fleet.listRuns': about(schedule),
  'fleet.previewRetention': about(schedule),
  'fleet.untrashPoint': {
    input: async (world) => {
      const source = { dataset: await world.dataset() }
      const asOperator = { token: world.tokens.operator }
      const { body } = await world.fleet.call('POST', '/api/v1/points', { source }, asOperator)
      await world.fleet.ended(body.job_id)
      return { params: { id: body.id } }
    },
    // It was not deleted.
    status: CONFLICT,
  },
}
