import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { startFleet, type TestFleet } from '../harness/fleet.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { lacksLxc, openLxcRoom } from '../harness/lxc-room.ts'
import { lacksServers, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'

const it = testUnless(lacksServers() ?? lacksLxc())
const room = openLxcRoom()
test.after.always(() => room.close())

const ticks = (rootfs: string) => Number(readFileSync(join(rootfs, 'root/ticks'), 'utf8') || 'NaN')

async function counts(rootfs: string): Promise<void> {
  const before = ticks(rootfs)
  await until('it counts', () => ticks(rootfs) > before)
}

/** The one of that name, when it is as it should be. */
function found(fleet: TestFleet, name: string, state: string) {
  return until(`${name} is ${state}`, async () => {
    const { body } = await fleet.call('GET', `/api/v1/instances?name=${name}&state=${state}`)
    return body.items[0]
  })
}

async function done(fleet: TestFleet, path: string, body?: object) {
  const answer = await fleet.call('POST', path, body)
  const job = await fleet.ended(answer.body.job_id, 60_000)
  return { answer, job }
}

it('containers of a host are listed, started, stopped and cloned through the API', async (t) => {
  const rootfs = room.define('web')
  room.define('db')
  const path = temporaryDirectory(t)
  const environment = { HOLDFAST_AGENT_LXC_PATH: room.folder }
  const fleet = await startFleet(t, { agents: [{ name: 'alpha', driver: 'copy', path, environment }] })
  const web = await found(fleet, 'web', 'STOPPED')
  t.like(web, { host: 'alpha', type: 'lxc', ref: 'web', gone_at: null })

  const started = await done(fleet, `/api/v1/instances/${web.id}/start`)
  t.is(started.answer.status, 202)
  t.like(started.job, { kind: 'instance.start', state: 'succeeded', instance_id: web.id })
  // No listing of its host is waited for: the job tells.
  t.is((await fleet.call('GET', `/api/v1/instances/${web.id}`)).body.state, 'RUNNING')
  await counts(rootfs)

  const cloned = await done(fleet, `/api/v1/instances/${web.id}/clone`, { name: 'web2', start: true })
  t.is(cloned.job.state, 'succeeded', JSON.stringify(cloned.job.error))
  const clone = (await fleet.call('GET', `/api/v1/instances/${cloned.answer.body.id}`)).body
  t.like(clone, { name: 'web2', ref: 'web2', state: 'RUNNING', group_id: web.group_id })
  const dataset = (await fleet.call('GET', '/api/v1/datasets/web2')).body
  await counts(join(dataset.mountpoint ?? path, 'rootfs'))
  await counts(rootfs)
  await until('its host has told of it', async () => {
    const { body } = await fleet.call('GET', `/api/v1/instances/${clone.id}`)
    return body.seen_at !== null && body.config_hash !== null
  })
  t.is((await fleet.call('GET', '/api/v1/instances')).body.items.length, 3)

  await capturedAndDiscarded(t, fleet, clone.id)
  await counts(join(dataset.mountpoint ?? path, 'rootfs'))

  for (const { id } of [web, clone]) {
    const stopped = await done(fleet, `/api/v1/instances/${id}/stop`, { grace_seconds: 1 })
    t.like(stopped.job, { state: 'succeeded', kind: 'instance.stop' })
    t.is((await fleet.call('GET', `/api/v1/instances/${id}`)).body.state, 'STOPPED')
  }
  const before = ticks(rootfs)
  await found(fleet, 'web', 'STOPPED')
  t.is(ticks(rootfs), before)
})

/** A snapshot and a backup of one that runs, with a volume that is attached to it, made and deleted by a real host. */
async function capturedAndDiscarded(t: ExecutionContext, fleet: TestFleet, instance: string): Promise<void> {
  const WAIT_MS = 60_000
  // Each asks rarely: it takes seconds.
  const asked = async (kind: 'snapshot' | 'backup', id: string) => {
    await pause(200)
    return fleet.call('GET', `/v1/instance/${kind}/${id}`)
  }
  const settled = (kind: 'snapshot' | 'backup', id: string) =>
    until(
      `the ${kind} is there`,
      async () => {
        const one = (await asked(kind, id)).body[kind]
        return one.status === 'creating' ? undefined : one
      },
      WAIT_MS,
    )
  const gone = (kind: 'snapshot' | 'backup', id: string) =>
    until(`the ${kind} is gone`, async () => (await asked(kind, id)).status === 404, WAIT_MS)

  const volume = await fleet.call('POST', '/api/v1/volumes', { name: 'disk', size_bytes: 2 ** 20 })
  t.is(volume.status, 201)
  const attach = `insert into volume_attachment (id, volume_id, instance_id, mode) values (gen_random_uuid(), $1, $2, 'rw')`
  await fleet.sql(attach, [volume.body.id, instance])

  const snapshot = { name: 'before', instance_id: instance }
  const { id } = (await fleet.call('POST', '/v1/instance/snapshot', { snapshot })).body.snapshot
  const taken = await settled('snapshot', id)
  t.like(taken, { status: 'available', consistency: 'frozen', fail_reason: null, left_out: [] })
  t.is(taken.root_snapshots.length, 1)
  t.is(taken.volume_snapshots.length, 1)
  const [root] = await fleet.sql('select mountpoint from dataset where id = $1', [taken.root_snapshots[0].id])
  t.true(ticks(join(root.mountpoint, 'rootfs')) > 0)
  t.is((await fleet.call('DELETE', `/v1/instance/snapshot/${id}`)).status, 201)
  await gone('snapshot', id)
  t.deepEqual(await fleet.sql('select id from volume_snapshot'), [])
  t.throws(() => readdirSync(root.mountpoint), { code: 'ENOENT' })

  const backup = { name: 'nightly', instance_id: instance }
  const made = (await fleet.call('POST', '/v1/instance/backup', { backup })).body.backup
  const whole = await settled('backup', made.id)
  t.like(whole, { status: 'available', consistency: 'frozen', fail_reason: null })
  t.is(whole.volume_backups.length, 1)
  t.is((await fleet.call('DELETE', `/v1/instance/backup/${made.id}`)).status, 201)
  await gone('backup', made.id)
  t.deepEqual(await fleet.sql('select id from point'), [])
  t.deepEqual(await fleet.sql('select id from instance_snapshot'), [])
}
