import { randomUUID } from 'node:crypto'
import test, { type ExecutionContext } from 'ava'
import { FleetError } from '../../../shared/errors.ts'
import { startListener } from '../../../test/harness/fake-listener.ts'
import { until } from '../../../test/harness/until.ts'
import { DEFAULT_GROUP_ID } from '../../core/caller.ts'

const OTHER_GROUP = '01900000-0000-7000-8000-0000000000ff'
/** Longer than any answer that does not wait. */
const A_WHILE_MS = 300
const LAST = 50

interface Told {
  readonly percent?: number
  readonly kind?: string
  readonly groupId?: string
}

async function startPolls(t: ExecutionContext) {
  const { ask, fake, credentials, core } = await startListener(t)
  return {
    ask,
    fake,
    core,
    credentials,
    poll: (query = '') => ask('GET', `/api/v1/backup/progress${query}`),
    /** A job that is part of a backup or restore. */
    task(kind: 'backup' | 'restore', number: number): string {
      const jobId = randomUUID()
      fake.tasks.push({ jobId, kind, number })
      return jobId
    },
    tell(jobId: string, type: string, { percent, kind = 'point.create', groupId = DEFAULT_GROUP_ID }: Told = {}) {
      const progress = percent === undefined ? null : { phase: 'archive', percent }
      return fake.publish({ type: `job.${type}`, jobId, groupId, body: { kind, progress } })
    },
  }
}

/** A poll that waits. @returns its answer, later. */
async function waiting<Answer>({ fake }: Pick<Awaited<ReturnType<typeof startPolls>>, 'fake'>, poll: Promise<Answer>) {
  const before = fake.followers()
  await until('the poll follows the feed', async () => fake.followers() >= Math.max(1, before))
  await new Promise((resolve) => setTimeout(resolve, A_WHILE_MS / 3))
  return { answer: poll }
}

test('a poll is answered by the first change, and goes on from its cursor', async (t) => {
  const polls = await startPolls(t)
  const { poll, task, tell } = polls
  const job = task('backup', 7)
  const { answer } = await waiting(polls, poll())
  tell(randomUUID(), 'running')
  tell(job, 'progress', { percent: 41.9 })
  const first = await answer
  t.is(first.status, 200)
  t.deepEqual(first.json, [{ id: 7, progress: 41, type: 'backup' }])
  const cursor = first.headers.get('x-progress-cursor')
  t.deepEqual((await poll(`?since=${cursor}&timeout=0`)).json, [])
  const { answer: second } = await waiting(polls, poll(`?since=${cursor}`))
  tell(job, 'succeeded')
  t.deepEqual((await second).json, [{ id: 7, progress: -1, type: 'backup' }])
})

test('nothing that happened between two polls is missed, however far back; of each task the newest is told', async (t) => {
  const { poll, task, tell } = await startPolls(t)
  const [backup, restore] = [task('backup', 1), task('restore', 1)]
  tell(backup, 'running')
  tell(backup, 'progress', { percent: 5 })
  t.deepEqual((await poll('?timeout=0')).json, [], 'from now on')
  const past = await poll('?since=1&timeout=0')
  t.deepEqual(past.json, [{ id: 1, progress: 5, type: 'backup' }])
  const cursor = past.headers.get('x-progress-cursor')
  tell(backup, 'progress', { percent: 50 })
  tell(restore, 'running', { kind: 'point.restore' })
  tell(backup, 'progress', { percent: 100 })
  await new Promise((resolve) => setTimeout(resolve, A_WHILE_MS))
  t.deepEqual((await poll(`?since=${cursor}&timeout=0`)).json, [
    { id: 1, progress: 99, type: 'backup' },
    { id: 1, progress: -1, type: 'restore' },
  ])
})

test('whole percents are news, and other work of the fleet is not', async (t) => {
  const polls = await startPolls(t)
  const { poll, task, tell, fake } = polls
  const job = task('backup', 1)
  const { answer: opened } = await waiting(polls, poll())
  tell(job, 'progress', { percent: 5.1 })
  const cursor = (await opened).headers.get('x-progress-cursor')
  const { answer } = await waiting(polls, poll(`?since=${cursor}&timeout=1`))
  const asked = fake.lookUps
  tell(job, 'progress', { percent: 5.9 })
  tell(randomUUID(), 'running', { kind: 'dataset.create' })
  tell(task('backup', 2), 'progress', { percent: 3, groupId: OTHER_GROUP })
  fake.publish({ type: 'host.offline' })
  t.deepEqual((await answer).json, [])
  t.is(fake.lookUps, asked + 1, 'of the other group alone')
})

test('a thousand wait, and what a job is part of is looked up once', async (t) => {
  const polls = await startPolls(t)
  const { poll, task, tell, fake } = polls
  const job = task('backup', 3)
  const all = Array.from({ length: 1000 }, () => poll('?since=0'))
  const { answer } = await waiting(polls, Promise.all(all))
  tell(job, 'running')
  const answers = await answer
  t.true(answers.every(({ text }) => text === '[{"id":3,"progress":-1,"type":"backup"}]'))
  t.is(fake.lookUps, 1)
  t.is(fake.followers(), 1)
})

test('changes that follow one another fast are told together', async (t) => {
  const polls = await startPolls(t)
  const { poll, task, tell } = polls
  const job = task('backup', 1)
  const { answer } = await waiting(polls, poll())
  tell(job, 'progress', { percent: 1 })
  const cursor = (await answer).headers.get('x-progress-cursor')
  const startedAt = performance.now()
  const telling = (async () => {
    for (let percent = 2; percent <= LAST; percent += 1) {
      tell(job, 'progress', { percent })
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  })()
  const answers: number[] = []
  for (let since = cursor; answers.at(-1) !== LAST; ) {
    const { json, headers } = await poll(`?since=${since}`)
    answers.push(json[0].progress)
    since = headers.get('x-progress-cursor')
  }
  await telling
  t.true(answers.length <= (performance.now() - startedAt) / 200 + 1, answers.join())
})

test('when tasks cannot be looked up those who wait are told, and their cursor still holds', async (t) => {
  const polls = await startPolls(t)
  const { poll, task, tell, fake } = polls
  const job = task('backup', 1)
  const { answer } = await waiting(polls, poll())
  fake.failLookUp = new FleetError('unavailable', 'the database is away')
  tell(job, 'running')
  t.like(await answer, { status: 503, json: { error: { code: 503 } } })
  t.deepEqual((await poll('?since=0&timeout=0')).json, [{ id: 1, progress: -1, type: 'backup' }])
  const { answer: again } = await waiting(polls, poll())
  tell(job, 'progress', { percent: 9 })
  t.deepEqual((await again).json, [{ id: 1, progress: 9, type: 'backup' }])
})

test('too old a cursor is gone; one ahead of everything is refused; so is a poll whose credential has ended', async (t) => {
  const polls = await startPolls(t)
  const { poll, fake, credentials, task, tell } = polls
  tell(task('backup', 1), 'running')
  fake.prune(1)
  t.like(await poll('?since=0&timeout=0'), { status: 410, json: { error: { code: 410 } } })
  t.is((await poll('?since=99&timeout=0')).status, 400)
  for (const query of ['?timeout=31', '?timeout=-1', '?timeout=soon', '?since=x'])
    t.is((await poll(query)).status, 400, query)
  const { answer } = await waiting(polls, poll())
  credentials.revoke()
  t.is((await answer).status, 401)
})
