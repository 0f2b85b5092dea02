import test from 'ava'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { zonedTime } from './present.ts'

const JOB = {
  job_name: 'LocalJob',
  container_id: 'utest',
  type: 'lxc',
  dest: { target: 'local', path: '/test/backup' },
  at: { repeat: 'daily', start: 60 },
  retention: 3,
}
const RESTORE = {
  job_name: 'RestoreLocalJob',
  container_id: 'utest',
  type: 'lxc',
  src: { target: 'local', path: '/test/backup', portfolio: '1' },
}
const FORM = { 'content-type': 'application/x-www-form-urlencoded' }
const SITE = { name: 'site', ipaddr: '192.0.2.7', username: 'admin', password: 'admin' }

test('a backup answers exactly what the document shows, in the zone of its times', async (t) => {
  const { ask, fake } = await startListener(t)
  const shown = { ...JOB, disable: false, features: [], id: 1 }
  const made = await ask('POST', '/api/v1/backup/', { body: JSON.stringify(JOB), headers: FORM })
  t.is(made.status, 200)
  t.deepEqual(made.json, { ...shown, state: { code: 'init', next_run: '2015-03-18 00:01:00' } })
  fake.setState(1, { code: 'scheduled', lastRun: new Date('2015-03-17T09:27:06.789Z') })
  const stopped = await ask('PUT', '/container-station/api/v1/backup/1/stop/')
  const state = { code: 'scheduled', last_run: '2015-03-17 17:27:06', next_run: '2015-03-18 00:01:00' }
  t.deepEqual(stopped.json, { ...shown, state })
  fake.setState(1, { result: -2 })
  const disabled = await ask('PUT', '/api/v1/backup/1', { body: { disable: true } })
  const { next_run: _, ...known } = state
  t.deepEqual(disabled.json, { ...shown, disable: true, state: { ...known, result: -2 } })
  t.deepEqual((await ask('GET', '/api/v1/backup')).json, [disabled.json])
})

test('what a client read it may send back, whatever else is in it', async (t) => {
  const { ask, fake } = await startListener(t)
  await ask('POST', '/api/v1/target', { body: SITE })
  const at = { repeat: 'monthly', start: 60, days: [31], times: 2, timezone: 'Asia/Kolkata', keep: { monthly: 3 } }
  const dest = { target: 'remote', profile: 1, path: '/a' }
  const features = ['compress', 'stop', 'incremental', 'verify']
  const { json } = await ask('POST', '/api/v1/backup', { body: { ...JOB, at, dest, features, host: 'host-a' } })
  t.like(json, { at, dest, features, host: 'host-a', retention: 3 })
  t.deepEqual((await ask('PUT', '/api/v1/backup/1', { body: json })).json, json)
  t.like([...fake.schedules.values()][0], { target: { number: 1, name: 'site' }, timezone: 'Asia/Kolkata' })
})

test('members of at and dest stay unless they are named; null takes one away', async (t) => {
  const { ask } = await startListener(t)
  await ask('POST', '/api/v1/target', { body: SITE })
  const at = { repeat: 'weekly', start: 60, days: [0], keep: { weekly: 4 } }
  await ask('POST', '/api/v1/backup', { body: { ...JOB, at } })
  const change = (body: object) => ask('PUT', '/api/v1/backup/1', { body })
  t.deepEqual((await change({ at: { repeat: 'weekly', start: 120, days: [1] } })).json.at, {
    ...at,
    start: 120,
    days: [1],
  })
  t.deepEqual((await change({ at: { repeat: 'daily' } })).json.at, {
    repeat: 'daily',
    start: 120,
    keep: { weekly: 4 },
  })
  t.is((await change({ at: { repeat: 'monthly' } })).json.error.message.split(':')[0], 'at.days')
  t.is((await change({ at: { repeat: 'oneshot' } })).json.error.message.split(':')[0], 'at.start')
  const { json } = await change({ at: { repeat: 'oneshot', start: 1_500_000_000, keep: null } })
  t.deepEqual(json.at, { repeat: 'oneshot', start: 1_500_000_000 })
  t.is((await change({ dest: { target: 'remote' } })).json.error.message, 'dest.profile: is required')
  t.regex((await change({ dest: { profile: 1 } })).json.error.message, /^dest\.profile: goes with/)
  const remote = { target: 'remote', profile: 1, path: '/test/backup' }
  t.deepEqual((await change({ dest: { target: 'remote', profile: 1 } })).json.dest, remote)
  t.deepEqual((await change({ dest: { path: '/b' } })).json.dest, { ...remote, path: '/b' })
  t.is((await change({ dest: { profile: 9 } })).status, 400)
  t.deepEqual((await change({ dest: { target: 'local' } })).json.dest, { target: 'local', path: '/b' })
})

test('somebody who changed it in between is not overwritten, and the merge is tried again', async (t) => {
  const { core } = await startListener(t)
  let meddles = 2
  const schedules = {
    ...core.schedules,
    async change(...[caller, id, request, ifMatch]: Parameters<typeof core.schedules.change>) {
      if (meddles > 0) await core.schedules.change(caller, id, { at: { repeat: 'daily', start: 60, times: meddles } })
      meddles -= 1
      return core.schedules.change(caller, id, request, ifMatch)
    },
  }
  const { ask } = await startListener(t, { core: { schedules } })
  await ask('POST', '/api/v1/backup', { body: JOB })
  const merged = await ask('PUT', '/api/v1/backup/1', { body: { at: { start: 90 } } })
  t.deepEqual(merged.json.at, { repeat: 'daily', start: 90, times: 1 })
  meddles = 100
  t.like(await ask('PUT', '/api/v1/backup/1', { body: { at: { start: 91 } } }), {
    status: 503,
    json: { error: { code: 503 } },
  })
})

test('a backup runs once at a time, and is not deleted meanwhile', async (t) => {
  const { ask, fake } = await startListener(t)
  await ask('POST', '/api/v1/backup', { body: JOB })
  t.like(await ask('PUT', '/api/v1/backup/1/run'), { status: 200, json: { state: { code: 'waiting', progress: -1 } } })
  t.is((await ask('PUT', '/api/v1/backup/1/run')).status, 409)
  fake.setState(1, { code: 'running', progress: 42 })
  t.like((await ask('GET', '/api/v1/backup/1')).json.state, { code: 'running', progress: 42 })
  t.like(await ask('DELETE', '/api/v1/backup/1'), { status: 409, json: { error: { code: 409 } } })
  t.like((await ask('PUT', '/api/v1/backup/1/stop')).json.state, { code: 'scheduled', result: -2 })
  t.deepEqual((await ask('DELETE', '/api/v1/backup/1')).json, [1])
})

test('conditions are of the version that is shown, its progress too', async (t) => {
  const { ask, fake } = await startListener(t)
  const made = await ask('POST', '/api/v1/backup', { body: JOB })
  const etag = made.headers.get('etag') ?? ''
  t.is((await ask('GET', '/api/v1/backup/1', { headers: { 'if-none-match': etag } })).status, 304)
  const headers = { 'if-match': etag }
  t.is((await ask('PUT', '/api/v1/backup/1', { body: { at: { start: 61 } }, headers })).status, 200)
  for (const [method, path] of [
    ['PUT', ''],
    ['PUT', '/run'],
    ['PUT', '/stop'],
    ['DELETE', ''],
  ] as const) {
    const refused = await ask(method, `/api/v1/backup/1${path}`, { body: { at: { start: 62 } }, headers })
    t.is(refused.status, 412, `${method} ${path}`)
  }
  fake.setState(1, { code: 'running', progress: 1 })
  const running = (await ask('GET', '/api/v1/backup/1')).headers.get('etag') ?? ''
  const [schedule] = fake.schedules.values()
  if (schedule) fake.schedules.set(schedule.id, { ...schedule, state: { ...schedule.state, progress: 2 } })
  t.is((await ask('GET', '/api/v1/backup/1', { headers: { 'if-none-match': running } })).status, 200)
})

test('a restore answers what the document shows, and its times once they are known', async (t) => {
  const { ask, fake } = await startListener(t)
  const { job_name: _, ...shown } = { ...RESTORE, disable: false, id: 1 }
  const made = await ask('POST', '/api/v1/restore/', { body: JSON.stringify(RESTORE), headers: FORM })
  t.deepEqual(made.json, { ...shown, state: { code: 'init' } })
  fake.setRestoreState(1, { code: 'running', start: new Date(1_426_584_426_900), progress: 7 })
  const running = { code: 'running', progress: 7, start: 1_426_584_426 }
  t.deepEqual((await ask('GET', '/api/v1/restore/1')).json, { ...shown, state: running })
  t.is((await ask('DELETE', '/api/v1/restore/1')).status, 409)
  const stopped = await ask('PUT', '/api/v1/restore/1/stop')
  t.like(stopped.json.state, { code: 'completed', result: -2, end: 1_426_584_426 })
  t.regex(stopped.json.state.last_run, /^2015-03-1\d \d\d:\d\d:06$/)
  fake.setRestoreState(1, { result: -1, reason: "there is no backup '1'" })
  t.is((await ask('GET', '/api/v1/restore')).json[0].state.reason, "there is no backup '1'")
  t.deepEqual((await ask('DELETE', '/api/v1/restore/1')).json, [1])
})

test('a profile makes a restore remote', async (t) => {
  const { ask } = await startListener(t)
  await ask('POST', '/api/v1/target', { body: SITE })
  const src = { target: 'remote', profile: 1, path: '/a', portfolio: 'LocalJob/20260102T030405Z' }
  const made = await ask('POST', '/api/v1/restore', { body: { ...RESTORE, src, host: 'host-a' } })
  t.like(made.json, { src, host: 'host-a' })
  t.false('start' in made.json)
  const started = await ask('POST', '/api/v1/restore', { body: { ...RESTORE, start: true } })
  t.is(started.json.start, true)
})

test('lists have no pages', async (t) => {
  const { ask } = await startListener(t)
  for (let n = 0; n < 501; n += 1) await ask('POST', '/api/v1/backup', { body: { ...JOB, job_name: `job ${n}` } })
  const { json } = await ask('GET', '/api/v1/backup/')
  t.deepEqual(
    json.map(({ id }: { id: number }) => id),
    Array.from({ length: 501 }, (_, n) => n + 1),
  )
})

test('viewers look', async (t) => {
  const { ask } = await startListener(t)
  t.is((await ask('POST', '/api/v1/backup', { body: JOB, as: 'viewer' })).status, 403)
  t.is((await ask('POST', '/api/v1/restore', { body: RESTORE, as: 'viewer' })).status, 403)
  t.is((await ask('GET', '/api/v1/backup', { as: 'viewer' })).status, 200)
  t.is((await ask('GET', '/api/v1/backup/progress?timeout=0', { as: null })).status, 401)
})

test('times are of a zone, without a fraction', (t) => {
  const at = new Date('2026-03-29T00:59:59.999Z')
  t.is(zonedTime(at, 'Europe/Berlin'), '2026-03-29 01:59:59')
  t.is(zonedTime(new Date(at.getTime() + 1), 'Europe/Berlin'), '2026-03-29 03:00:00')
  t.is(zonedTime(at, 'Asia/Kolkata'), '2026-03-29 06:29:59')
  t.is(zonedTime(new Date('2026-01-01T00:00:00Z'), 'UTC'), '2026-01-01 00:00:00')
})
