import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
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

  for (const { id } of [web, clone]) {
    const stopped = await done(fleet, `/api/v1/instances/${id}/stop`, { grace_seconds: 1 })
    t.like(stopped.job, { state: 'succeeded', kind: 'instance.stop' })
    t.is((await fleet.call('GET', `/api/v1/instances/${id}`)).body.state, 'STOPPED')
  }
  const before = ticks(rootfs)
  await found(fleet, 'web', 'STOPPED')
  t.is(ticks(rootfs), before)
})
