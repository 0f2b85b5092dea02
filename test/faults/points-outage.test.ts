import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { WorkMessage, WorkOrder } from '../../shared/wire/messages.ts'
import { subjects } from '../../shared/wire/subjects.ts'
import { connectAsControlPlane } from '../harness/backends.ts'
import { wipeNats } from '../harness/fleet.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import {
  litterIn,
  ownBasesOf,
  type PointUser,
  pointHost,
  pointUser,
  sameTree,
  tidy,
  treeOf,
} from '../harness/point-fleet.ts'
import { sharedFleet } from '../harness/shared-fleet.ts'
import { stepsIn } from '../harness/steps.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'

const lacks =
  lacksServers() ??
  lacksTool('mkfs.btrfs', 'zstd', 'setfacl', 'getfattr') ??
  (process.geteuid?.() === 0 ? undefined : 'mounting a loop image needs root')
const serially = testUnless(lacks)

const at = sharedFleet(test, (scope) => {
  if (lacks !== undefined) return undefined
  const steps = stepsIn(temporaryDirectory(scope))
  const host = pointHost(scope, { environment: steps.environment })
  return { host, steps, agents: [host.wish] }
})

const world = (t: ExecutionContext) => {
  const shared = at(t)
  return { ...shared, user: pointUser(t, shared.fleet) }
}

async function source(user: PointUser, name: string): Promise<string> {
  const path = await user.dataset(name)
  mkdirSync(join(path, 'dir'))
  for (let n = 0; n < 30; n += 1) writeFileSync(join(path, 'dir', `file-${n}`), `${n}`.repeat(1000))
  return path
}

/** Orders a point and stops its agent before it is published. */
async function heldPoint({ fleet, steps }: ReturnType<typeof world>, dataset: string) {
  steps.set({ step: 'commit', place: 'before', act: 'hold' })
  const { body } = await fleet.call('POST', '/api/v1/points', { source: { dataset }, incremental: true })
  await steps.held()
  return body as { readonly id: string; readonly job_id: string }
}

serially('cancelled at any step before it is published, a backup leaves nothing; after that, it is good', async (t) => {
  const { fleet, host, steps, user } = world(t)
  await source(user, 'create')
  let last = ''
  for (const [step, place, ends] of [
    ['look', 'after', 'cancelled'],
    ['snapshot', 'after', 'cancelled'],
    ['write', 'after', 'cancelled'],
    ['commit', 'after', 'succeeded'],
  ] as const) {
    steps.set({ step, place, act: 'hold' })
    const { body: told } = await fleet.call('POST', '/api/v1/points', { source: { dataset: 'create' } })
    await steps.held()
    t.is((await fleet.call('POST', `/api/v1/jobs/${told.job_id}/cancel`)).status, 202)
    steps.open()
    t.is((await fleet.ended(told.job_id)).state, ends, `${place} ${step}`)
    const point = await fleet.call('GET', `/api/v1/points/${told.id}`)
    t.is(point.body.status === 'good', ends === 'succeeded', JSON.stringify(point.body))
    await tidy(t, fleet, host)
    last = ends === 'cancelled' ? told.job_id : last
  }
  const again = await fleet.call('POST', `/api/v1/jobs/${last}/retry`)
  t.is(again.body.retry_of, last)
  t.is((await fleet.ended(again.body.id)).state, 'succeeded')
  const { items } = (await fleet.call('GET', '/api/v1/points?source=create&status=good')).body
  t.is(items[0].job_id, again.body.id)
})

serially('killed while it takes back what was cancelled', async (t) => {
  const { fleet, host, steps, user } = world(t)
  await source(user, 'undone')
  for (const step of ['write', 'snapshot']) {
    const { job_id } = await heldPoint(world(t), 'undone')
    await fleet.call('POST', `/api/v1/jobs/${job_id}/cancel`)
    steps.set({ step, place: 'undo', act: { killAfterMs: 0 } })
    await steps.died(fleet.agent('a'))
    await fleet.ready({ agent: 'a' })
    t.true(['cancelled', 'succeeded'].includes((await fleet.ended(job_id)).state))
    await tidy(t, fleet, host)
  }
  await user.good({ source: { dataset: 'undone' }, incremental: true })
})

serially('the control plane killed while a backup is made: the next one hears of its end', async (t) => {
  const here = world(t)
  const { fleet, host, steps, user } = here
  await source(user, 'plane')
  const { id, job_id } = await heldPoint(here, 'plane')
  await fleet.planes[0]?.signal('SIGKILL')
  steps.open()
  await fleet.ready({ plane: 0 })
  t.is((await fleet.ended(job_id)).state, 'succeeded')
  const point = await user.get(id)
  t.is(point.status, 'good')
  t.true(existsSync(point.location.path))
  await tidy(t, fleet, host)
})

serially('the control plane killed between an order and its publishing: the next one sends it', async (t) => {
  const { fleet, host, user } = world(t)
  await source(user, 'unsent')
  await fleet.backends.nats.signal('SIGSTOP')
  const { body } = await fleet.call('POST', '/api/v1/points', { source: { dataset: 'unsent' } })
  await fleet.planes[0]?.signal('SIGKILL')
  await fleet.backends.nats.signal('SIGKILL')
  await fleet.backends.restart('nats')
  await fleet.ready({ plane: 0 })
  t.is((await fleet.ended(body.job_id, 60_000)).state, 'succeeded')
  t.is((await user.get(body.id)).status, 'good')
  await tidy(t, fleet, host)
})

serially('NATS killed and its disk lost while a backup is made and a restore is owed: both end once', async (t) => {
  const here = world(t)
  const { fleet, host, steps, user } = here
  const path = await source(user, 'wiped')
  const tree = treeOf(path)
  const first = await user.good({ source: { dataset: 'wiped' } })
  const { id, job_id } = await heldPoint(here, 'wiped')
  await fleet.backends.nats.signal('SIGKILL')
  wipeNats(fleet.backends)
  const owed = fleet.call('POST', `/api/v1/points/${first.id}/restore`, { destination: { new_dataset: 'owed' } })
  steps.open()
  await fleet.backends.restart('nats')
  t.is((await fleet.ended(job_id, 60_000)).state, 'succeeded')
  t.is((await user.get(id)).status, 'good')
  const { status, body } = await owed
  if (status === 202) {
    t.is((await fleet.ended(body.job_id, 60_000)).state, 'succeeded')
    const made = await fleet.call('GET', '/api/v1/datasets/owed')
    sameTree(t, made.body.mountpoint, tree)
  } else t.is(status, 503)
  await tidy(t, fleet, host)
})

serially('one order delivered again and again makes one point, and removes one', async (t) => {
  const { fleet, host, user } = world(t)
  await source(user, 'again')
  const { point, job } = await user.make({ source: { dataset: 'again' } })
  const sums = join(point.location.path, 'sums')
  const { ino, mtimeMs } = statSync(sums)
  const nats = await connectAsControlPlane(t, fleet.backends)
  const repeat = async (jobId: string) => {
    const [{ spec }] = await fleet.sql('select spec from job where id = $1', [jobId])
    const order: WorkOrder = { jobId, attempt: 1, spec, notAfter: null }
    const message: WorkMessage = { v: 1, orders: [order] }
    for (let copy = 0; copy < 3; copy += 1) nats.publish(subjects.work('a'), JSON.stringify(message))
    for (const attempt of [2, 3]) {
      await fleet.sql(
        `update job set state = 'queued', finished_at = null, attempt = $2, heard_delivery = 0, heard_seq = 0 where id = $1`,
        [jobId, attempt],
      )
      const ended = await fleet.ended(jobId, 60_000)
      t.is(ended.attempt, attempt)
      t.is(ended.state, 'succeeded')
    }
  }
  await repeat(job.id)
  t.deepEqual([statSync(sums).ino, statSync(sums).mtimeMs], [ino, mtimeMs])
  t.is((await user.get(point.id)).status, 'good')
  const { body } = await fleet.call('DELETE', `/api/v1/points/${point.id}`)
  await fleet.ended(body.job_id)
  const next = await user.good({ source: { dataset: 'again' } })
  await repeat(body.job_id)
  t.true(existsSync(next.location.path), 'a late deletion takes no other point')
  t.regex(readFileSync(join(next.location.path, '..', 'backup-metadata'), 'utf8'), new RegExp(next.name))
  t.deepEqual(litterIn(host.backups), [])
  await tidy(t, fleet, host)
})

serially('an agent that was only cut off goes on with its backup under the next attempt', async (t) => {
  const here = world(t)
  const { fleet, host, steps, user } = here
  await source(user, 'adopted')
  const { id, job_id } = await heldPoint(here, 'adopted')
  // What a lost lease does.
  await fleet.sql(
    `update job set state = 'queued', attempt = attempt + 1, heard_delivery = 0, heard_seq = 0 where id = $1`,
    [job_id],
  )
  await until('the agent has taken it over', () => fleet.agent('a').log().includes('"event":"job.adopted"'))
  steps.open()
  const job = await fleet.ended(job_id)
  t.is(job.state, 'succeeded')
  t.is(job.attempt, 2)
  t.is((await user.get(id)).status, 'good')
  await tidy(t, fleet, host)
})

serially(
  'a dataset deleted while its backup is written: it goes at once, the backup is good, nothing of it stays',
  async (t) => {
    const { fleet, host, steps, user } = world(t)
    const path = await source(user, 'leaving')
    const tree = treeOf(path)
    await user.good({ source: { dataset: 'leaving' } })
    steps.set({ step: 'write', place: 'before', act: 'hold' })
    const { body } = await fleet.call('POST', '/api/v1/points', { source: { dataset: 'leaving' }, incremental: true })
    await steps.held()
    t.is((await fleet.call('DELETE', '/api/v1/datasets/leaving')).status, 204)
    t.false(existsSync(path))
    steps.open()
    t.is((await fleet.ended(body.job_id)).state, 'succeeded')
    await user.done(`/${body.id}/restore`, { destination: { new_dataset: 'back' } })
    sameTree(t, (await fleet.call('GET', '/api/v1/datasets/back')).body.mountpoint, tree)
    await tidy(t, fleet, host)
    const [{ dataset_id }] = await fleet.sql('select dataset_id from point where id = $1', [body.id])
    t.deepEqual(ownBasesOf(fleet, host, dataset_id), [], 'no snapshot outlives what it is of')
  },
)
