import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { connectAsControlPlane, startBackends } from '../harness/backends.ts'
import { FaultProxy } from '../harness/fault-proxy.ts'
import { startFleet } from '../harness/fleet.ts'
import { canMount, mountLoop } from '../harness/loop-mount.ts'
import { until } from '../harness/until.ts'

const MIB = 2 ** 20

test.serial('a full pool: a clear message and nothing half-made', async (t) => {
  if (!canMount(t)) return t.pass()
  const pool = mountLoop(t, 'ext4', 64 * MIB)
  const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'copy', path: pool }] })
  const { mountpoint } = (await fleet.call('GET', '/api/v1/datasets/root')).body
  writeFileSync(join(mountpoint, 'large'), Buffer.alloc(36 * MIB, 1))
  const { status, body } = await fleet.call('POST', '/api/v1/snapshots', { source: 'root', name: 's' })
  t.is(status, 500)
  t.is(body.error, 'CREATE_SNAPSHOT_FAILED')
  t.regex(body.message, /full|space/)
  t.is(readdirSync(join(pool, 'datasets')).length, 1)
  t.is((await fleet.call('GET', '/api/v1/snapshots/s')).status, 404)
  t.is((await fleet.call('GET', '/api/v1/datasets/root')).body.cow, false)
  await fleet.quiet()
})

test.serial(
  'deleting a dataset waits for the job that works in it; cut off meanwhile, that job is adopted',
  async (t) => {
    if (!canMount(t)) return t.pass()
    const pool = mountLoop(t, 'btrfs', 512 * MIB)
    const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'btrfs', path: pool }] })
    const { mountpoint } = (await fleet.call('POST', '/api/v1/datasets', { name: 'd' })).body
    for (let folder = 0; folder < 60; folder += 1) {
      mkdirSync(join(mountpoint, 'tree', String(folder)), { recursive: true })
      for (let n = 0; n < 200; n += 1) writeFileSync(join(mountpoint, 'tree', String(folder), String(n)), 'x')
    }
    await fleet.call('POST', '/api/v1/snapshots', { source: 'd', name: 's', readonly: true })
    const restore = fleet.call('POST', '/api/v1/snapshots/restore', {
      snapshot: 's',
      source: '/tree',
      destination: '/copy',
    })
    const jobId = await until('the restore runs', async () => {
      const [row] = await fleet.sql(`select id from job where kind = 'snapshot.restore' and state = 'running'`)
      return row?.id
    })
    const removal = fleet.call('DELETE', '/api/v1/datasets/d')
    // What a lost lease does while the agent was only cut off.
    await fleet.sql(
      `update job set state = 'queued', attempt = attempt + 1, heard_delivery = 0, heard_seq = 0 where id = $1`,
      [jobId],
    )

    t.is((await restore).status, 200)
    const ended = await fleet.ended(jobId)
    t.is(ended.state, 'succeeded')
    t.is(ended.attempt, 2)
    t.true(fleet.agent('a').log().includes('"event":"job.adopted"'))
    t.is((await removal).status, 204)
    t.is((await fleet.call('GET', '/api/v1/datasets/d')).status, 404)
    t.is((await fleet.call('GET', '/api/v1/snapshots/s')).body.source, `ID:${1}`)
    await fleet.quiet()
  },
)

test.serial('a body over the limit, names that are none, paths that lead out', async (t) => {
  const fleet = await startFleet(t, { agents: [{ name: 'a', driver: 'sim' }] })
  const large = await fleet.call('POST', '/api/v1/datasets', { name: 'x'.repeat(2 * MIB) })
  t.is(large.status, 413)
  t.is(large.body.error, 'PAYLOAD_TOO_LARGE')
  for (const name of ['', 'a/b', '-a', '.a', 'a b', 'ä', 'x'.repeat(201)]) {
    const { status, body } = await fleet.call('POST', '/api/v1/datasets', { name })
    t.is(status, 400, name)
    t.is(body.error, 'INVALID_REQUEST')
    t.regex(body.message, /name/)
  }
  await fleet.call('POST', '/api/v1/snapshots', { source: 'root', name: 's' })
  const restore = (source: string, destination: string) =>
    fleet.call('POST', '/api/v1/snapshots/restore', { snapshot: 's', source, destination })
  for (const answer of [await restore('x', '/y'), await restore('/x', 'y'), await restore('', '/y')]) {
    t.is(answer.status, 400)
    t.regex(answer.body.message, /source|destination/)
  }
  for (const answer of [await restore('/../x', '/y'), await restore('/x', '/a/../../y'), await restore('/x\0', '/y')]) {
    t.true([400, 500].includes(answer.status))
    t.regex(answer.body.message, /source|destination/)
  }
  t.deepEqual(await fleet.sql(`select id from job where kind = 'snapshot.restore'`), [])
  const unknown = await fleet.call('POST', '/api/v1/datasets', { name: 'x', host: 'nobody' })
  t.is(unknown.status, 500)
  t.regex(unknown.body.message, /nobody/)
  const both = await Promise.all([1, 2, 3].map(() => fleet.call('POST', '/api/v1/datasets', { name: 'one' })))
  t.deepEqual(both.map((answer) => answer.status).toSorted(), [201, 500, 500])
})

test.serial(
  'a control plane whose clock is ahead refuses what a silent host does not begin as soon as any other',
  async (t) => {
    const ahead = encodeURIComponent('const now = Date.now; Date.now = () => now() + 120_000')
    const fleet = await startFleet(t, {
      agents: [{ name: 'a', driver: 'sim' }],
      environment: { NODE_OPTIONS: `--import=data:text/javascript,${ahead}` },
    })
    await fleet.agent('a').signal('SIGSTOP')
    const startedAt = Date.now()
    const { status, body } = await fleet.call('POST', '/api/v1/datasets', { name: 'late' })
    await fleet.agent('a').signal('SIGCONT')
    t.is(status, 503, JSON.stringify(body))
    t.true(Date.now() - startedAt < 15_000)
    await fleet.quiet()
    t.is((await fleet.call('GET', '/api/v1/datasets/late')).status, 404)
  },
)

test('a NATS server that is gone without a word is found out within a minute', async (t) => {
  const backends = await startBackends(t)
  const proxy = await FaultProxy.start(Number(new URL(backends.natsUrl).port))
  t.teardown(() => proxy.close())
  const through = new URL(backends.natsUrl)
  through.port = String(proxy.port)
  const nats = await connectAsControlPlane(t, { ...backends, natsUrl: through.href })
  const seen = new Set<string>()
  void (async () => {
    for await (const { type } of nats.status()) seen.add(type)
  })()
  await nats.flush()
  proxy.set({ kind: 'stall', afterBytes: 0 })
  await until('the connection is given up', () => seen.has('disconnect'), 60_000)
  proxy.set({ kind: 'none' })
  proxy.dropAll()
  await until('there is another', () => seen.has('reconnect'))
  await t.notThrowsAsync(nats.flush())
})
