import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { mountLoop } from '../harness/loop-mount.ts'
import { ownBasesOf, type PointUser, pointHost, pointUser, sameTree, tidy, treeOf } from '../harness/point-fleet.ts'
import { flipByte } from '../harness/rot.ts'
import { sharedFleet } from '../harness/shared-fleet.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'

const MIB = 2 ** 20
const lacks =
  lacksServers() ??
  lacksTool('btrfs', 'mkfs.btrfs', 'mkfs.ext4', 'zstd', 'setfacl', 'getfattr') ??
  (process.geteuid?.() === 0 ? undefined : 'mounting a loop image needs root')
const serially = testUnless(lacks)

const at = sharedFleet(test, (scope) => {
  if (lacks !== undefined) return undefined
  const host = pointHost(scope)
  // All that this one has is small.
  const state = mountLoop(scope, 'ext4')
  const small = pointHost(scope, {
    name: 'small',
    poolBytes: 200 * MIB,
    backups: mountLoop(scope, 'ext4'),
    environment: { HOLDFAST_AGENT_STATE: state },
  })
  return { host, small, state, agents: [host.wish, small.wish] }
})

const world = (t: ExecutionContext) => {
  const shared = at(t)
  return { ...shared, user: pointUser(t, shared.fleet) }
}

/** A dataset on host `a` with a full point and an increment. */
async function chain(user: PointUser, name: string) {
  const path = await user.dataset(name, 'a')
  mkdirSync(join(path, 'dir'))
  for (let n = 0; n < 20; n += 1) writeFileSync(join(path, 'dir', `file-${n}`), randomBytes(20_000))
  const order = { source: { dataset: name }, incremental: true }
  const full = await user.good(order)
  writeFileSync(join(path, 'dir', 'file-3'), randomBytes(20_000))
  const next = await user.good(order)
  return { path, order, full, next }
}

async function sameRestored(t: ExecutionContext, { fleet, user }: ReturnType<typeof world>, id: string, path: string) {
  const name = `of-${id}`
  await user.done(`/${id}/restore`, { destination: { new_dataset: name, host: 'a' } })
  const { mountpoint } = (await fleet.call('GET', `/api/v1/datasets/${name}`)).body
  sameTree(t, mountpoint, treeOf(path))
}

serially(
  'a byte that changed at rest: verify names the files, the point shows it, and nothing is built on it',
  async (t) => {
    const here = world(t)
    const { fleet, host, user } = here
    const { order, full, next, path } = await chain(user, 'rotten')
    flipByte(join(full.location.path, 'data.tar.zst'), 0.5)
    const found = await user.work(`/${next.id}/verify`)
    t.is(found.state, 'failed')
    t.is(found.error.code, 'corrupt')
    t.true(found.error.members.length > 0, JSON.stringify(found.error))
    for (const member of found.error.members) t.true(existsSync(join(path, member)), member)
    const shown = await user.get(next.id)
    t.deepEqual(shown.damage.members, found.error.members)
    t.is(shown.verified_at, null)
    const restored = await user.work(`/${next.id}/restore`, { destination: { new_dataset: 'never', host: 'a' } })
    t.is(restored.error?.code, 'corrupt')
    t.is((await fleet.call('GET', '/api/v1/datasets/never')).status, 404)
    const rehearsed = await user.work(`/${next.id}/rehearse`)
    t.is(rehearsed.error?.code, 'corrupt')

    const after = await user.good(order)
    t.deepEqual(after.chain, [], 'the damage lies in the full point, which an increment would rest on')
    t.regex(after.full_reason, /damaged/)
    await user.done(`/${after.id}/verify`)
    await sameRestored(t, here, after.id, path)
    await tidy(t, fleet, host)
  },
)

serially(
  'another archive in the place of a point, its sums and the metadata in order, is not taken for it',
  async (t) => {
    const { fleet, host, user } = world(t)
    const { full, path } = await chain(user, 'forged')
    writeFileSync(join(path, 'dir', 'file-3'), 'what somebody would rather have restored')
    const other = await user.good({ source: { dataset: 'forged' } })
    rmSync(full.location.path, { recursive: true })
    cpSync(other.location.path, full.location.path, { recursive: true })
    rmSync(join(full.location.path, '..', 'backup-metadata'))
    const found = await user.work(`/${full.id}/verify`)
    t.is(found.error?.code, 'corrupt', JSON.stringify(found))
    await user.done(`/${other.id}/verify`)
    await tidy(t, fleet, host)
  },
)

serially('an index that changed at rest is found, and nothing is built on it any more', async (t) => {
  const here = world(t)
  const { fleet, host, user } = here
  const { order, next, path } = await chain(user, 'index')
  flipByte(join(next.location.path, 'index.ndjson.zst'), 0.5)
  t.is((await user.work(`/${next.id}/verify`)).error?.code, 'corrupt')
  t.true((await fleet.call('GET', `/api/v1/points/${next.id}/files?path=dir`)).status >= 400)
  const after = await user.good(order)
  t.deepEqual(after.chain, [])
  t.regex(after.full_reason, /damaged/)
  await sameRestored(t, here, after.id, path)
  await tidy(t, fleet, host)
})

serially('backup-metadata lost or damaged: points restore as before, and the next run writes it anew', async (t) => {
  const here = world(t)
  const { fleet, host, user } = here
  const { order, full, next, path } = await chain(user, 'metadata')
  const metadata = join(next.location.path, '..', 'backup-metadata')
  for (const harm of [
    () => rmSync(metadata),
    () => writeFileSync(metadata, '{"version": 1, "points": [{'),
    () => writeFileSync(metadata, randomBytes(1000)),
  ]) {
    harm()
    await user.done(`/${next.id}/verify`)
    await user.done(`/${next.id}/restore`, {
      destination: { dataset: 'metadata', path: '/r' },
      paths: ['dir/file-3'],
      overwrite: true,
    })
    const after = await user.good(order)
    t.true(after.chain.includes(full.id))
    const told = JSON.parse(readFileSync(metadata, 'utf8'))
    const names = told.points.map((point: { name: string }) => point.name)
    for (const name of [full.name, next.name, after.name]) t.true(names.includes(name))
    rmSync(join(path, 'r'))
  }
  await tidy(t, fleet, host)
})

serially('what an increment is compared with, removed by hand: the next one is exact all the same', async (t) => {
  const here = world(t)
  const { fleet, host, user } = here
  const { order, path } = await chain(user, 'baseless')
  for (const base of ownBasesOf(fleet, host))
    execFileSync('/usr/bin/btrfs', ['subvolume', 'delete', '--commit-after', join(host.pool, 'datasets', base)])
  writeFileSync(join(path, 'dir', 'file-5'), 'five')
  rmSync(join(path, 'dir', 'file-6'))
  const after = await user.good(order)
  t.true(after.chain.length === 2 || typeof after.full_reason === 'string')
  await sameRestored(t, here, after.id, path)
  await tidy(t, fleet, host)
})

serially('an archive removed by hand: verify says so, and the next run is a full one that says why', async (t) => {
  const here = world(t)
  const { fleet, host, user } = here
  const { order, full, next, path } = await chain(user, 'lost')
  rmSync(full.location.path, { recursive: true })
  const found = await user.work(`/${next.id}/verify`)
  t.is(found.error?.code, 'corrupt', JSON.stringify(found.error))
  const after = await user.good(order)
  t.deepEqual(after.chain, [])
  t.regex(after.full_reason, /missing|damaged|gone/)
  await sameRestored(t, here, after.id, path)
  for (const { id } of [next, full]) await user.remove(id)
  await tidy(t, fleet, host)
})

serially(
  'a backup root that is full: the job says so, nothing stays, and with room the next run is good',
  async (t) => {
    const { fleet, small, user } = world(t)
    const path = await user.dataset('tight', 'small')
    writeFileSync(join(path, 'large'), randomBytes(45 * MIB))
    const filler = join(small.backups, 'filler')
    writeFileSync(filler, Buffer.alloc(30 * MIB))
    const { point, job } = await user.make({ source: { dataset: 'tight' } })
    t.is(job.error?.code, 'no_space', JSON.stringify(job.error))
    t.is(point.status, 'failed')
    t.deepEqual(
      readdirSync(small.backups, { recursive: true }).filter((name) => /\d{8}T/.test(String(name))),
      [],
    )
    rmSync(filler)
    await user.good({ source: { dataset: 'tight' }, incremental: true })
    await tidy(t, fleet, small)
  },
)

serially('an agent whose own disk is full: no order is lost, and with room it works again', async (t) => {
  const { fleet, small, state, user } = world(t)
  const path = await user.dataset('homeless', 'small')
  writeFileSync(join(path, 'file'), 'file')
  const filler = join(state, 'filler')
  t.throws(() => {
    for (;;) writeFileSync(filler, Buffer.alloc(MIB), { flag: 'a' })
  })
  const { status, body } = await fleet.call('POST', '/api/v1/points', { source: { dataset: 'homeless' } })
  t.is(status, 202)
  await until('the agent has met its full disk', async () => {
    const { state: now } = (await fleet.call('GET', `/api/v1/jobs/${body.job_id}`)).body
    return now === 'failed' || now === 'succeeded' || /ENOSPC|no space/i.test(fleet.agent('small').log())
  })
  rmSync(filler)
  // Its service would have started it again, had it ended.
  await fleet.agent('small').stop()
  await fleet.ready({ agent: 'small' })
  const job = await fleet.ended(body.job_id, 60_000)
  t.true(['succeeded', 'failed'].includes(job.state))
  t.is((await user.get(body.id)).status === 'good', job.state === 'succeeded')
  await user.good({ source: { dataset: 'homeless' }, incremental: true })
  await tidy(t, fleet, small)
})

serially('a pool that is full: nothing half-made, and with room the next run is good', async (t) => {
  const { fleet, small, user } = world(t)
  const path = await user.dataset('brimful', 'small')
  writeFileSync(join(path, 'kept'), 'kept')
  const filler = join(path, 'filler')
  t.throws(() => {
    for (;;) writeFileSync(filler, randomBytes(4 * MIB), { flag: 'a' })
  })
  const { point, job } = await user.make({ source: { dataset: 'brimful' } })
  if (point.status !== 'good') t.is(job.error?.code, 'no_space', JSON.stringify(job.error))
  const full = await user
    .work(`/${point.id}/restore`, { destination: { new_dataset: 'none', host: 'small' } })
    .catch(() => undefined)
  if (full !== undefined) t.is(full.error?.code, 'no_space', JSON.stringify(full.error))
  t.is((await fleet.call('GET', '/api/v1/datasets/none')).status, 404)
  rmSync(filler)
  await user.good({ source: { dataset: 'brimful' } })
  await tidy(t, fleet, small)
})
