import { randomUUID } from 'node:crypto'
import test from 'ava'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { fakePoint } from '../../../test/harness/fake-points.ts'
import type { ScheduleRun } from '../../core/runs.ts'

const JOB = {
  job_name: 'nightly',
  container_id: 'a',
  type: 'dataset',
  dest: { target: 'local', path: '/test' },
  at: { repeat: 'daily', start: 60, times: 2 },
}
const AT = new Date('2026-01-02T03:04:05.000Z')

async function startScheduled(t: Parameters<typeof startListener>[0]) {
  const listener = await startListener(t)
  await listener.ask('POST', '/api/v1/backup', { body: JOB })
  const [schedule] = listener.fake.schedules.values()
  if (schedule === undefined) throw new Error('no schedule')
  return { ...listener, schedule, path: `/api/v1/schedules/${schedule.id}` }
}

function run(scheduleId: string, given: Partial<ScheduleRun>): ScheduleRun {
  return {
    id: randomUUID(),
    scheduleId,
    trigger: 'due',
    dueAt: AT,
    state: 'ended',
    outcome: 'ran',
    reason: null,
    host: 'host-a',
    jobId: randomUUID(),
    pointId: randomUUID(),
    verifyJobId: null,
    firedAt: AT,
    endedAt: AT,
    ...given,
  }
}

test('schedules are listed, and found by uuid and by number', async (t) => {
  const { ask, schedule, path } = await startScheduled(t)
  const { json, headers } = await ask('GET', path)
  t.deepEqual(json, {
    id: schedule.id,
    number: 1,
    group_id: schedule.groupId,
    name: 'nightly',
    type: 'dataset',
    container: 'a',
    host: null,
    target: null,
    path: '/test',
    at: JOB.at,
    timezone: 'Asia/Taipei',
    disabled: false,
    retention: 0,
    features: [],
    state: { code: 'init', result: null, last_run: null, next_run: '2015-03-17T16:01:00.000Z', progress: null },
    created_at: schedule.createdAt.toISOString(),
  })
  t.deepEqual((await ask('GET', '/api/v1/schedules/1')).json, json)
  t.deepEqual((await ask('GET', '/api/v1/schedules?limit=1')).json, { items: [json], next_cursor: null })
  t.is((await ask('GET', path, { headers: { 'if-none-match': headers.get('etag') ?? '' } })).status, 304)
  t.like(await ask('GET', `/api/v1/schedules/${randomUUID()}`), { status: 404, json: { error: { code: 'not_found' } } })
  t.is((await ask('POST', '/api/v1/schedules', { body: {} })).status, 405)
})

test('the ledger has pages, and is filtered by outcome and time', async (t) => {
  const { ask, fake, schedule, path } = await startScheduled(t)
  const later = new Date(AT.getTime() + 86_400_000)
  const nothing = { jobId: null, pointId: null, host: null, firedAt: null, endedAt: null }
  fake.runs.push(
    run(schedule.id, { dueAt: later, outcome: 'missed', reason: 'host-a was offline', ...nothing }),
    run(schedule.id, {}),
    run(randomUUID(), {}),
  )
  const { json } = await ask('GET', `${path}/runs`)
  t.is(json.items.length, 2)
  t.like(json.items[0], {
    schedule_id: schedule.id,
    trigger: 'due',
    due_at: later.toISOString(),
    state: 'ended',
    outcome: 'missed',
    reason: 'host-a was offline',
    job_id: null,
    fired_at: null,
  })
  const first = (await ask('GET', `${path}/runs?limit=1`)).json
  t.deepEqual(first.items, json.items.slice(0, 1))
  t.deepEqual((await ask('GET', `${path}/runs?limit=1&cursor=${first.next_cursor}`)).json.items, json.items.slice(1))
  t.deepEqual((await ask('GET', `${path}/runs?outcome=ran`)).json.items, json.items.slice(1))
  t.deepEqual((await ask('GET', `${path}/runs?until=${AT.toISOString()}`)).json.items, json.items.slice(1))
  t.deepEqual((await ask('GET', `${path}/runs?since=2026-01-03T00:00:00%2B01:00`)).json.items, json.items.slice(0, 1))
  t.like(await ask('GET', `${path}/runs?outcome=good`), { status: 400, json: { error: { field: 'outcome' } } })
  t.like(await ask('GET', `${path}/runs?since=yesterday`), { status: 400, json: { error: { field: 'since' } } })
})

test('what retention would do is told with reasons, and what it did is taken back', async (t) => {
  const { ask, fake, path } = await startScheduled(t)
  const point = fakePoint({})
  fake.points.set(point.id, point)
  const ids = { gone: randomUUID(), kept: randomUUID() }
  fake.preview = {
    delete: [{ id: ids.gone, name: '20260101T000000Z', takenAt: AT, rule: 'superseded', why: 'no rule keeps it' }],
    keep: [{ id: ids.kept, name: '20260102T000000Z', takenAt: AT, rule: 'newest', why: 'the newest' }],
    trashed: [{ id: point.id, name: point.name, trashedAt: AT, removedAt: AT }],
  }
  const at = AT.toISOString()
  t.deepEqual((await ask('GET', `${path}/retention-preview`)).json, {
    delete: [{ id: ids.gone, name: '20260101T000000Z', taken_at: at, rule: 'superseded', why: 'no rule keeps it' }],
    keep: [{ id: ids.kept, name: '20260102T000000Z', taken_at: at, rule: 'newest', why: 'the newest' }],
    trashed: [{ id: point.id, name: point.name, trashed_at: at, removed_at: at }],
  })
  const untrash = `/api/v1/points/${point.id}/untrash`
  t.is((await ask('POST', untrash, { as: 'viewer' })).status, 403)
  t.like(await ask('POST', untrash), { status: 202, json: { id: point.id, pinned: true, returning: true } })
  fake.preview = { ...fake.preview, trashed: [] }
  t.like(await ask('POST', untrash), { status: 409, json: { error: { code: 'conflict' } } })
})
