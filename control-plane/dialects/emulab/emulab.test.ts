import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import test from 'ava'
import { FleetError } from '../../../shared/errors.ts'
import { fakeBatch } from '../../../test/harness/fake-exports.ts'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { readExchanges, replay } from '../../../test/harness/replay.ts'
import type { ExportBatch, Unexport, WantExport } from '../../core/exports.ts'

const CLONE = '/lun/api/v1.0/clone'
const WWN = 'iqn.2014-11.nmc-probe.org:nodea'
const ELEMENT = { initiators: ['iqn.2014-11.nmc-probe.org:node'], src: 'tank/image@1', dst: 'tank/nodes/a', wwn: WWN }
const AT = new Date('2026-01-02T03:04:05.678Z')
const FORM = { 'content-type': 'application/x-www-form-urlencoded' }

test('the documented exchanges', async (t) => {
  const { url } = await startListener(t)
  const exchanges = await readExchanges(join(import.meta.dirname, 'exchanges'))
  const variables = { pool: 'tank', image: 'projects/testbed/images/centos72-probe' }
  t.true(exchanges.length > 2)
  t.deepEqual(await replay(exchanges, { baseUrl: url, token: 'operator-token', variables }), [])
})

test('elements reach core as they are meant', async (t) => {
  const { core } = await startListener(t)
  const asked: (WantExport | Unexport)[] = []
  const exports = {
    ...core.exports,
    async create(...[caller, wanted]: Parameters<typeof core.exports.create>) {
      asked.push(...wanted)
      return core.exports.create(caller, wanted)
    },
    async remove(...[caller, wanted]: Parameters<typeof core.exports.remove>) {
      asked.push(...wanted)
      return core.exports.remove(caller, wanted)
    },
  }
  const { ask } = await startListener(t, { core: { exports } })
  const chap = { user: 'node', secret: 'a long secret!'.replaceAll(' ', '-') }
  const clones = [
    {
      ...ELEMENT,
      wwn: 'IQN.2014-11.NMC-Probe.org:NodeA',
      initiators: ['EUI.02004567A425678D'],
      createParent: '1',
      chap,
    },
    { ...ELEMENT, createParent: true },
    { ...ELEMENT, createParent: 0 },
  ]
  const made = await ask('POST', CLONE, { body: JSON.stringify({ clones }), headers: FORM, as: 'operator' })
  t.is(made.status, 201)
  t.deepEqual(Object.keys(made.json), ['status', 'job_id'])
  t.false(made.text.includes(chap.secret))
  t.deepEqual(asked.splice(0), [
    {
      ...{ source: ELEMENT.src, volume: ELEMENT.dst, wwn: WWN, initiators: ['eui.02004567a425678d'] },
      ...{ createParent: true, chap },
    },
    { source: ELEMENT.src, volume: ELEMENT.dst, wwn: WWN, initiators: ELEMENT.initiators, createParent: true },
    { source: ELEMENT.src, volume: ELEMENT.dst, wwn: WWN, initiators: ELEMENT.initiators, createParent: false },
  ])
  const { dst, wwn } = ELEMENT
  const removed = [{ deleteClone: 1 }, { deleteClones: 'true', force: true }, { deleteClone: false, force: null }]
  await ask('DELETE', CLONE, { body: { clones: removed.map((flags) => ({ dst, wwn, ...flags })) } })
  t.deepEqual(asked, [
    { volume: dst, wwn, deleteVolume: true, force: false },
    { volume: dst, wwn, deleteVolume: true, force: true },
    { volume: dst, wwn, deleteVolume: false, force: false },
  ])
})

test('what cannot be meant is refused before anything is done, naming the element', async (t) => {
  const { ask, fake } = await startListener(t)
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ src: 'tank/image' }, /^clones\[1\]\.src: must be <pool>\/<volume>@<snapshot>$/],
    [{ src: 'tank@1' }, /^clones\[1\]\.src:/],
    [{ dst: 'tank' }, /^clones\[1\]\.dst: must be <pool>\/<volume>$/],
    [{ dst: 'tank/../a' }, /^clones\[1\]\.dst:/],
    [{ dst: '/tank/a' }, /^clones\[1\]\.dst:/],
    [{ wwn: 'nodea' }, /^clones\[1\]\.wwn: must be an iSCSI name/],
    [{ initiators: 'iqn.2014-11.org.x:a' }, /^clones\[1\]\.initiators:/],
    [{ createParent: 2 }, /^clones\[1\]\.createParent: must be 1, true, 0 or false$/],
    [{ chap: { user: 'a', secret: 'short' } }, /^clones\[1\]\.chap\.secret: must be 12 to 255/],
    [{ chap: { user: 'a', secret: 'long enough it is', password: 'x' } }, /^clones\[1\]\.chap\./],
  ]
  for (const [given, message] of wrong) {
    const { status, json, text } = await ask('POST', CLONE, { body: { clones: [ELEMENT, { ...ELEMENT, ...given }] } })
    t.is(status, 400, text)
    t.is(json.status, 'error')
    t.regex(json.message, message)
  }
  const many = Array.from({ length: 1_001 }, (_, n) => ({ ...ELEMENT, dst: `tank/a${n}` }))
  const tooMany = await ask('POST', CLONE, { body: { clones: many } })
  t.like(tooMany, { status: 400, json: { message: 'clones: must hold at most 1000' } })
  t.is(fake.exports.size, 0)
})

test('every failure wears the envelope', async (t) => {
  const { ask, fake } = await startListener(t)
  const body = { clones: [ELEMENT] }
  const status = `/lun/api/v1.0/clone_status/${randomUUID()}`
  const failures = [
    [401, await ask('GET', '/lun/api/v1.0/clone_test', { as: null })],
    [403, await ask('POST', CLONE, { body, as: 'viewer' })],
    [404, await ask('GET', status)],
    [412, await ask('POST', CLONE, { body, headers: { 'if-match': '"a"' } })],
    [413, await ask('POST', CLONE, { body: `{"clones": "${'x'.repeat(1024 * 1024)}"}` })],
  ] as const
  for (const [code, reply] of failures) {
    t.is(reply.status, code)
    t.deepEqual(Object.keys(reply.json), ['status', 'message'])
    t.is(reply.json.status, 'error')
  }
  fake.refuseNext = new FleetError('unavailable', "the host 'host-a' is offline")
  t.like(await ask('POST', CLONE, { body }), { status: 503, json: { status: 'error' } })
  fake.refuseNext = new FleetError('conflict', 'in use', { blockers: ['iqn.2014-11.org.x:a'] })
  const refused = await ask('DELETE', CLONE, { body })
  t.like(refused, { status: 409, json: { message: 'in use (blocked by iqn.2014-11.org.x:a)' } })
})

test('a repeat under a key is one job', async (t) => {
  const { ask, fake } = await startListener(t)
  const headers = { 'idempotency-key': 'once' }
  const first = await ask('POST', CLONE, { body: { clones: [ELEMENT] }, headers })
  const again = await ask('POST', CLONE, { body: { clones: [ELEMENT] }, headers })
  t.deepEqual(again.json, first.json)
  t.is(again.headers.get('x-job-id'), first.headers.get('x-job-id'))
  t.is(fake.batches.size, 1)
  const other = await ask('POST', CLONE, { body: { clones: [{ ...ELEMENT, createParent: 1 }] }, headers })
  t.like(other, { status: 422, json: { status: 'error' } })
})

test('the status of a job is as the document shows it, its floats too', async (t) => {
  const { ask, fake } = await startListener(t)
  const times = { cloneSeconds: 2.399769, deviceSeconds: 0.1405481234, targetSeconds: 1 }
  const later = (ms: number) => new Date(AT.getTime() + ms)
  const batch = fakeBatch({ createdAt: AT, startedAt: later(216), endedAt: later(3868), times })
  fake.batches.set(batch.id, batch)
  const path = `/lun/api/v1.0/clone_status/${batch.id}`
  const { status, text, headers } = await ask('GET', path, { as: 'viewer' })
  t.is(status, 200)
  t.is(
    text,
    '{"status":"complete","job_type":"create","num_requested":1,"num_completed":1,"num_clones":1,"num_targets":1,' +
      '"percent_completed":1.0,"lag_time":0.216,"clone_time":2.399769,"udevd_time":0.140548,"target_time":1.0,"job_time":3.652}',
  )
  t.is((await ask('GET', path, { headers: { 'if-none-match': headers.get('etag') ?? '' } })).status, 304)
})

test('the words of a job follow its phases, and it is complete only when every element is', async (t) => {
  const { ask, fake } = await startListener(t)
  const done = (...ns: number[]) => ns.map((n) => ({ n, volume: true, reused: n === 1, diverged: n === 1 }))
  const none = { cloneSeconds: 0, deviceSeconds: 0, targetSeconds: 0 }
  const quiet = { requested: 4, done: [], finished: 0, passed: 0, endedAt: null, times: none }
  async function told(given: Partial<ExportBatch>) {
    const batch = fakeBatch({ ...quiet, ...given })
    fake.batches.set(batch.id, batch)
    return (await ask('GET', `/lun/api/v1.0/clone_status/${batch.id}`)).json
  }
  const words: readonly (readonly [Partial<ExportBatch>, string, number])[] = [
    [{ phase: 'pending', startedAt: null }, 'pending', 0],
    [{ phase: 'pending' }, 'start_job', 0],
    [{ phase: 'clone', passed: 1 }, 'start_creating_clones', 0.125],
    [{ phase: 'clone', passed: 4 }, 'done_creating_clones', 0.5],
    [{ phase: 'devices' }, 'start_waiting_udevd', 0.5],
    [{ phase: 'devices', passed: 4 }, 'done_waiting_udevd', 0.5],
    [{ phase: 'targets', passed: 2 }, 'start_creating_targets', 0.75],
    [{ phase: 'targets', passed: 4 }, 'done_creating_targets', 1],
    [{ phase: 'targets', type: 'delete', finished: 1 }, 'start_deleting_targets', 0.25],
    [{ phase: 'targets', type: 'delete', passed: 4 }, 'done_deleting_targets', 0.5],
    [{ phase: 'clone', type: 'delete', passed: 3 }, 'start_deleting_clones', 0.875],
    [{ phase: 'clone', type: 'delete', passed: 4 }, 'done_deleting_clones', 1],
  ]
  for (const [given, status, percent] of words) {
    t.like(await told(given), { status, percent_completed: percent, job_time: 0 })
  }
  const ended = { phase: 'ended', finished: 4, endedAt: AT } as const
  const whole = await told({ ...ended, done: done(0, 1, 2, 3) })
  t.like(whole, { status: 'complete', num_completed: 4, reused: [1], diverged: [1] })
  t.false('errors' in whole || 'error' in whole)
  const errors = [{ n: 3, code: 'not_found', message: "there is no snapshot 'tank/image@2'" }]
  t.like(await told({ ...ended, done: done(0, 1, 2), errors }), {
    ...{ status: 'failed', num_completed: 3, num_clones: 3, num_targets: 3, num_requested: 4, percent_completed: 1 },
    ...{ error: "1 of 4 failed; clones[3]: there is no snapshot 'tank/image@2'", errors },
  })
  t.is((await told({ ...ended, done: done(0, 1, 2, 3), errors })).status, 'failed', 'whatever else its host says')
  const stuck = [{ n: 0, code: 'conflict', message: 'in use', unexported: true }]
  const removed = await told({ ...ended, type: 'delete', requested: 1, finished: 1, errors: stuck })
  t.like(removed, { status: 'failed', num_completed: 0, num_targets: 1, error: 'clones[0]: in use' })
  const jobs = [{ id: '', host: 'a', state: 'failed', phase: null, finished: 0, error: 'the host is gone' }]
  t.like(await told({ ...ended, jobs }), { status: 'failed', error: '4 of 4 failed; the host is gone' })
})
