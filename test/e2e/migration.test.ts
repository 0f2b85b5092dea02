import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { startFleet, type TestFleet } from '../harness/fleet.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { lacksLxc, openLxcRoom } from '../harness/lxc-room.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'
import { LACKS, openVault } from '../harness/vaults.ts'

const it = testUnless(lacksServers() ?? lacksTool('zstd') ?? LACKS.sftp() ?? lacksLxc())
const [here, beyond] = [openLxcRoom(), openLxcRoom()]
test.after.always(() => {
  here.close()
  beyond.close()
})

const WAIT_MS = 60_000
const ticks = (rootfs: string) => Number(readFileSync(join(rootfs, 'root/ticks'), 'utf8') || 'NaN')

async function counts(rootfs: string): Promise<void> {
  const before = ticks(rootfs)
  await until('it counts', () => ticks(rootfs) > before)
}

/** The one of that name, when it is as it should be. */
function found(fleet: TestFleet, query: string) {
  return until(`there is an instance with ${query}`, async () => {
    const { body } = await fleet.call('GET', `/api/v1/instances?${query}`)
    return body.items[0]
  })
}

it('a container that runs goes to another host over SFTP, through the death of the control plane', async (t) => {
  const rootfs = here.define('web')
  const vault = await openVault(t, 'sftp')
  const agent = (name: string, folder: string) => ({
    ...{ name, driver: 'copy' as const, path: temporaryDirectory(t) },
    environment: { HOLDFAST_AGENT_LXC_PATH: folder, HOLDFAST_AGENT_TARGET_LOOPBACK: 'true' },
  })
  const wishes = [agent('alpha', here.folder), agent('beta', beyond.folder)]
  const fleet = await startFleet(t, { agents: wishes })
  const target = String((await fleet.call('POST', '/api/v1/targets', vault.body)).body.id)
  const web = await found(fleet, 'name=web&host=alpha')
  await fleet.ended((await fleet.call('POST', `/api/v1/instances/${web.id}/start`)).body.job_id)
  await counts(rootfs)

  const asked = await fleet.call('POST', `/api/v1/instances/${web.id}/migrate`, { host: 'beta', target })
  t.is(asked.status, 202, JSON.stringify(asked.body))
  const path = `/api/v1/migrations/${asked.body.id}`
  const inPhase = (...phases: readonly string[]) =>
    until(
      `it comes to ${phases.join(' or ')}`,
      async () => phases.includes((await fleet.sql('select phase from instance_move'))[0].phase),
      WAIT_MS,
    )
  await inPhase('precopy', 'stop', 'final')
  await fleet.planes[0]?.signal('SIGKILL')
  await fleet.ready({ plane: 0 })
  const moved = await until(
    'it is over',
    async () => {
      const { body } = await fleet.call('GET', path)
      return ['moved', 'failed', 'cancelled'].includes(body.state) ? body : undefined
    },
    WAIT_MS,
  )
  t.like(moved, { state: 'moved', phase: 'ended', reason: null, to: { host: 'beta' } })
  t.true(moved.downtime_ms > 0)
  t.log(`down for ${moved.downtime_ms} ms`)

  t.like((await fleet.call('GET', `/api/v1/instances/${moved.to.instance_id}`)).body, {
    state: 'RUNNING',
    host: 'beta',
  })
  const last = ticks(rootfs)
  const dataset = (await fleet.call('GET', '/api/v1/datasets/web')).body
  const there = join(String(dataset.mountpoint), 'rootfs')
  await counts(there)
  t.true(ticks(there) > last, 'it went on from where it was')
  t.is(ticks(rootfs), last, 'the original stands still')
  t.like((await fleet.call('GET', `/api/v1/instances/${web.id}`)).body, { state: 'STOPPED', moved_to: 'beta' })
  await fleet.quiet()
  const kinds = await fleet.sql(
    `select kind, count(*)::int as n from job where kind <> 'dataset.create' group by 1 order by 1`,
  )
  t.deepEqual(kinds, [
    { kind: 'instance.start', n: 1 },
    { kind: 'instance.stop', n: 1 },
    { kind: 'point.create', n: 2 },
    { kind: 'point.delete', n: 2 },
    { kind: 'point.restore', n: 2 },
  ])
  t.deepEqual((await fleet.call('GET', '/api/v1/points')).body.items, [])
  t.deepEqual(
    (await vault.files()).filter((file) => file.includes('migration@')),
    [],
  )
})
