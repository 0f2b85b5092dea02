import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { WorkMessage, WorkOrder } from '../../shared/wire/messages.ts'
import { subjects } from '../../shared/wire/subjects.ts'
import { connectAsControlPlane } from '../harness/backends.ts'
import { startFleet, type TestFleet, wipeNats } from '../harness/fleet.ts'
import { canMount, mountLoop } from '../harness/loop-mount.ts'
import { until } from '../harness/until.ts'

const FILES = 20_000
const FOLDERS = 100

/** A fleet on btrfs with a snapshot `s` of `root`, which holds one file and, when asked for, a large tree. */
async function open(
  t: ExecutionContext,
  wish: { readonly tree?: boolean; readonly planes?: number; readonly ownPostgres?: boolean } = {},
) {
  if (!canMount(t)) return undefined
  const pool = mountLoop(t, 'btrfs', 1024 ** 3)
  const agents = [{ name: 'a', driver: 'btrfs', path: pool }] as const
  const { planes = 1, ownPostgres = false } = wish
  const fleet = await startFleet(t, { agents, planes, ownPostgres })
  const root: string = (await fleet.call('GET', '/api/v1/datasets/root')).body.mountpoint
  writeFileSync(join(root, 'one'), 'as it was')
  if (wish.tree) makeTree(join(root, 'tree'))
  const { status } = await fleet.call('POST', '/api/v1/snapshots', { source: 'root', name: 's', readonly: true })
  t.is(status, 201)
  return { fleet, root, pool }
}

function makeTree(path: string): void {
  for (let folder = 0; folder < FOLDERS; folder += 1) {
    mkdirSync(join(path, String(folder)), { recursive: true })
    for (let n = 0; n < FILES / FOLDERS; n += 1) writeFileSync(join(path, String(folder), String(n)), `${folder}/${n}`)
  }
}

const countFiles = (path: string) =>
  readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).length
const litter = (root: string) => readdirSync(root).filter((name) => name.includes('partial'))

/** Sends a restore whose answer nobody waits for, and gives its job once it runs. */
async function restoring(fleet: TestFleet, body: object): Promise<string> {
  fleet.call('POST', '/api/v1/snapshots/restore', { snapshot: 's', ...body }).catch(() => undefined)
  return until('the restore runs', async () => {
    const [row] = await fleet.sql(`select id from job where kind = 'snapshot.restore' and state = 'running'`)
    return row?.id
  })
}

/** Takes back what the journal says since the last staging: a crash an instant earlier. */
function forgetEnd(fleet: TestFleet): void {
  const path = join(fleet.backends.folder, 'a', 'journal.ndjson')
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n')
  const kept = lines.slice(0, lines.findLastIndex((line) => line.includes('"t":"stage"')) + 1)
  writeFileSync(path, `${kept.join('\n')}\n`)
}

test.serial('the agent killed in the middle of a tree: the next one finishes, once, without litter', async (t) => {
  const opened = await open(t, { tree: true })
  if (opened === undefined) return t.pass()
  const { fleet, root } = opened
  const jobId = await restoring(fleet, { source: '/tree', destination: '/copy' })
  await until('files are staged', () => litter(root).length > 0)
  await fleet.agent('a').signal('SIGKILL')
  t.false(existsSync(join(root, 'copy')))
  await fleet.ready({ agent: 'a' })
  t.is((await fleet.ended(jobId, 60_000)).state, 'succeeded')
  t.is(countFiles(join(root, 'copy')), FILES)
  t.deepEqual(litter(root), [])
  await fleet.quiet()
})

test.serial("killed between the committing rename and its report: a user's write in between survives", async (t) => {
  const opened = await open(t)
  if (opened === undefined) return t.pass()
  const { fleet, root } = opened
  // Stopped NATS holds the report back; the effect is there, nobody was told.
  const answer = fleet.call('POST', '/api/v1/snapshots/restore', { snapshot: 's', source: '/one', destination: '/two' })
  await answer
  const [job] = await fleet.sql(`select id from job where kind = 'snapshot.restore'`)
  await fleet.agent('a').signal('SIGKILL')
  const { ino } = statSync(join(root, 'two'))
  forgetEnd(fleet)
  await fleet.sql(
    `update job set state = 'running', finished_at = null, result = null, heard_delivery = 0, heard_seq = 0 where id = $1`,
    [job.id],
  )
  writeFileSync(join(root, 'two'), "the user's own words")

  await fleet.ready({ agent: 'a' })
  const ended = await fleet.ended(job.id, 60_000)
  t.is(ended.state, 'succeeded')
  t.is(ended.result.inode, ino)
  t.is(readFileSync(join(root, 'two'), 'utf8'), "the user's own words")
  t.deepEqual(litter(root), [])
})

test.serial('the control plane killed between insert and publish: the job is sent by the next one', async (t) => {
  const opened = await open(t)
  if (opened === undefined) return t.pass()
  const { fleet, root } = opened
  // Without NATS the publish stays in the client's buffer, and dies with the process.
  await fleet.backends.nats.signal('SIGSTOP')
  fleet
    .call('POST', '/api/v1/snapshots/restore', { snapshot: 's', source: '/one', destination: '/two' })
    .catch(() => undefined)
  const jobId = await until('the job is inserted', async () => {
    const [row] = await fleet.sql(`select id from job where kind = 'snapshot.restore'`)
    return row?.id
  })
  await fleet.planes[0]?.signal('SIGKILL')
  await fleet.backends.nats.signal('SIGKILL')
  await fleet.backends.restart('nats')
  await fleet.ready({ plane: 0 })
  t.is((await fleet.ended(jobId, 60_000)).state, 'succeeded')
  t.is(readFileSync(join(root, 'two'), 'utf8'), 'as it was')
  await fleet.quiet()
})

test.serial('the control plane killed between effect and ingest: the end is folded by the next one', async (t) => {
  const opened = await open(t, { tree: true })
  if (opened === undefined) return t.pass()
  const { fleet, root } = opened
  const jobId = await restoring(fleet, { source: '/tree', destination: '/copy' })
  await fleet.planes[0]?.signal('SIGKILL')
  await until('the tree stands', () => existsSync(join(root, 'copy')), 60_000)
  await fleet.ready({ plane: 0 })
  t.is((await fleet.ended(jobId, 60_000)).state, 'succeeded')
  t.is(countFiles(join(root, 'copy')), FILES)
  await fleet.quiet()
})

test.serial(
  'nats-server killed and its disk lost, with work under way and work owed: everything accepted ends once',
  async (t) => {
    const opened = await open(t, { tree: true })
    if (opened === undefined) return t.pass()
    const { fleet, root } = opened
    const running = await restoring(fleet, { source: '/tree', destination: '/copy' })
    await fleet.backends.nats.signal('SIGKILL')
    wipeNats(fleet.backends)
    // Accepted while nothing carries it; its client may be told that it waits no longer.
    fleet.call('POST', '/api/v1/snapshots', { source: 's', name: 'later' }).catch(() => undefined)
    await fleet.backends.restart('nats')
    t.is((await fleet.ended(running, 60_000)).state, 'succeeded')
    t.is(countFiles(join(root, 'copy')), FILES)
    await fleet.quiet(60_000)
    const [later] = await fleet.sql(`select state from job where dataset_name = 'later'`)
    const isThere = (await fleet.call('GET', '/api/v1/datasets/later')).status === 200
    t.is(isThere, later?.state === 'succeeded')
    t.is((await fleet.call('POST', '/api/v1/snapshots', { source: 's', name: 'after' })).status, 201)
  },
)

test.serial('Postgres restarted under load: what was accepted ends once, what was not leaves nothing', async (t) => {
  const opened = await open(t, { ownPostgres: true })
  if (opened === undefined) return t.pass()
  const { fleet, root } = opened
  const names = Array.from({ length: 40 }, (_, n) => `load-${n}`)
  const answers = names.map((name) => fleet.call('POST', '/api/v1/snapshots', { source: 'root', name }))
  await fleet.backends.postgres?.signal('SIGKILL')
  await fleet.backends.restart('postgres')
  await Promise.allSettled(answers)
  await fleet.quiet(60_000)
  const jobs = await fleet.sql(
    `select dataset_name, state from job where kind = 'snapshot.create' and dataset_name like 'load-%'`,
  )
  const { body } = await fleet.call('GET', '/api/v1/snapshots')
  const there = new Set(body.snapshots.map((snapshot: { name: string }) => snapshot.name))
  for (const { dataset_name, state } of jobs) t.is(there.has(dataset_name), state === 'succeeded')
  t.is(readdirSync(join(root, '..')).length, body.snapshots.length + 1)
})

test.serial('one order delivered again and again has one effect', async (t) => {
  const opened = await open(t, { planes: 2 })
  if (opened === undefined) return t.pass()
  const { fleet, root } = opened
  await fleet.call('POST', '/api/v1/snapshots/restore', { snapshot: 's', source: '/one', destination: '/two' })
  const { ino } = statSync(join(root, 'two'))
  const [job] = await fleet.sql(`select id, spec from job where kind = 'snapshot.restore'`)
  const nats = await connectAsControlPlane(t, fleet.backends)
  // Without a message id JetStream takes every copy; the agent must know them.
  const order: WorkOrder = { jobId: job.id, attempt: 1, spec: job.spec, notAfter: null }
  const message: WorkMessage = { v: 1, orders: [order] }
  for (let copy = 0; copy < 5; copy += 1) nats.publish(subjects.work('a'), JSON.stringify(message))
  // As after a lost lease: the order goes out again under later attempts, and is answered from the journal.
  for (const attempt of [2, 3]) {
    await fleet.sql(
      `update job set state = 'queued', finished_at = null, attempt = $2, heard_delivery = 0, heard_seq = 0 where id = $1`,
      [job.id, attempt],
    )
    t.is((await fleet.ended(job.id, 60_000)).attempt, attempt)
  }
  t.is(statSync(join(root, 'two')).ino, ino)
  await fleet.quiet()
})

test.serial('a tree restore is cancelled while it runs, and leaves nothing', async (t) => {
  const opened = await open(t, { tree: true })
  if (opened === undefined) return t.pass()
  const { fleet, root } = opened
  const jobId = await restoring(fleet, { source: '/tree', destination: '/copy' })
  t.is((await fleet.call('POST', `/api/v1/jobs/${jobId}/cancel`)).status, 202)
  t.is((await fleet.ended(jobId)).state, 'cancelled')
  t.false(existsSync(join(root, 'copy')))
  t.deepEqual(litter(root), [])
  await fleet.quiet()
  const retried = await fleet.call('POST', `/api/v1/jobs/${jobId}/retry`)
  t.is(retried.body.retry_of, jobId)
  t.is((await fleet.ended(retried.body.id, 60_000)).state, 'succeeded')
  t.is(countFiles(join(root, 'copy')), FILES)
})
