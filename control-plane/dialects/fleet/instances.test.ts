import test from 'ava'
import { fakeInstance } from '../../../test/harness/fake-instances.ts'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { InstancePage, InstanceView } from './instance-schemas.ts'

const ABSENT = '01900000-0000-7000-8000-00000000dead'

test('an instance shows everything in snake case, and paths of its host to those of the fleet', async (t) => {
  const { ask, fake } = await startListener(t)
  const instance = fakeInstance()
  fake.instances.set(instance.id, instance)
  const { json, headers } = await ask('GET', `/api/v1/instances/${instance.id}`)
  t.notThrows(() => InstanceView.parse(json))
  t.deepEqual(json, {
    id: instance.id,
    group_id: instance.groupId,
    host: 'host-a',
    type: 'lxc',
    ref: 'web',
    name: 'web',
    state: 'RUNNING',
    mounts: [{ destination: '/data', source: '/srv/data', kind: 'bind', volume: null, readonly: false }],
    config_hash: 'hash',
    created_at: '2026-01-02T03:04:05.678Z',
    seen_at: '2026-01-02T03:04:05.678Z',
    gone_at: null,
    moved_to: null,
  })
  t.is(headers.get('etag'), `"${instance.id}.1"`)
  t.is((await ask('GET', `/api/v1/instances/${ABSENT}`)).status, 404)
})

test('lists are filtered by what instances are', async (t) => {
  const { ask, fake } = await startListener(t)
  const all = [
    fakeInstance({ name: 'a' }),
    fakeInstance({ name: 'b', type: 'docker', state: 'STOPPED' }),
    fakeInstance({ name: 'c', state: 'FROZEN', host: 'host-b' }),
    fakeInstance({ name: 'd', goneAt: new Date() }),
  ]
  for (const one of all) fake.instances.set(one.id, one)
  const names = async (query: string) => {
    const { json } = await ask('GET', `/api/v1/instances?${query}`)
    return InstancePage.parse(json).items.map((item) => InstanceView.parse(item).name)
  }
  t.deepEqual(await names(''), ['a', 'b', 'c'])
  t.deepEqual(await names('state=STOPPED,FROZEN'), ['b', 'c'])
  t.deepEqual(await names('type=lxc&host=host-b'), ['c'])
  t.deepEqual(await names('name=a'), ['a'])
  t.deepEqual(await names('gone=true'), ['d'])
  t.is((await ask('GET', '/api/v1/instances?state=DANCING')).status, 400)
})

test('work on an instance is accepted with its job', async (t) => {
  const { ask, fake } = await startListener(t)
  const instance = fakeInstance()
  fake.instances.set(instance.id, instance)
  const path = `/api/v1/instances/${instance.id}`
  const body = { name: 'web2', hold: 'stop', start: true }
  const made = await ask('POST', `${path}/clone`, { body, as: 'operator' })
  t.is(made.status, 202)
  t.deepEqual(Object.keys(made.json), ['id', 'job_id'])
  t.is(made.headers.get('x-job-id'), made.json.job_id)
  t.like(fake.cloned[0], body)
  t.is((await ask('POST', `${path}/clone`, { body })).status, 409)
  t.like((await ask('POST', `${path}/clone`, { body: { name: '../x' } })).json.error, {
    code: 'invalid',
    field: 'name',
  })
  t.is((await ask('POST', `${path}/stop`, { body: { grace_seconds: 1.5 } })).status, 202)
  t.is((await ask('POST', `${path}/stop`)).status, 202)
  t.deepEqual(fake.stopped, [{ graceMs: 1500 }, { graceMs: undefined }])
  t.is((await ask('POST', `${path}/stop`, { body: { grace_seconds: 601 } })).json.error.field, 'grace_seconds')
  t.is((await ask('POST', `${path}/start`, { as: 'viewer' })).status, 403)
  t.is((await ask('POST', `${path}/start`)).status, 202)
})

test('an instance is handed over under the condition that it is what was seen', async (t) => {
  const { ask, fake } = await startListener(t)
  const instance = fakeInstance()
  fake.instances.set(instance.id, instance)
  const path = `/api/v1/instances/${instance.id}`
  const change = { body: { group: ABSENT } }
  const stale = await ask('PATCH', path, { ...change, headers: { 'if-match': '"other.1"' } })
  t.is(stale.status, 412)
  const { status, json, headers } = await ask('PATCH', path, {
    ...change,
    headers: { 'if-match': `"${instance.id}.1"` },
  })
  t.is(status, 200)
  t.is(json.group_id, ABSENT)
  t.is(headers.get('etag'), `"${instance.id}.2"`)
  t.is((await ask('PATCH', path, { body: {} })).json.error.field, 'group')
})
