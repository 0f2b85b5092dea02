import { type Containers, lxcContainers, podmanContainers } from '../harness/containers.ts'
import { startFleet, type TestFleet } from '../harness/fleet.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { lacksLxc, openLxcRoom } from '../harness/lxc-room.ts'
import { lacksPodman, openPodmanRoom } from '../harness/podman-room.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'
import { LACKS, openVault } from '../harness/vaults.ts'

const noEngine = await lacksPodman()
const it = testUnless(lacksServers() ?? lacksTool('zstd') ?? LACKS.sftp() ?? lacksLxc())
// One test moves what there is of both kinds: without an engine half of it is told to be skipped.
if (noEngine !== undefined) testUnless(noEngine)('a container of an engine goes to another host', () => undefined)

const WAIT_MS = 90_000
const ticks = (containers: Containers) => Number(containers.read('web', '/root/ticks') || 'NaN')

async function counts(containers: Containers): Promise<void> {
  const before = ticks(containers)
  await until('it counts', () => ticks(containers) > before)
}

/** What a host of containers is made of: one folder of LXC's, and an engine where there is one. */
async function aHost(t: Parameters<typeof temporaryDirectory>[0], name: string) {
  const lxc = openLxcRoom()
  t.teardown(() => lxc.close())
  const podman = noEngine === undefined ? openPodmanRoom() : undefined
  if (podman) t.teardown(() => podman.close())
  await podman?.serve()
  const environment = {
    HOLDFAST_AGENT_LXC_PATH: lxc.folder,
    HOLDFAST_AGENT_DOCKER_SOCKET: podman?.socketPath ?? '',
    HOLDFAST_AGENT_TARGET_LOOPBACK: 'true',
  }
  return {
    containers: [lxcContainers(lxc), ...(podman ? [podmanContainers(podman)] : [])],
    wish: { name, driver: 'copy' as const, path: temporaryDirectory(t), environment },
  }
}

function found(fleet: TestFleet, type: string) {
  return until(`${type} is listed`, async () => {
    const { body } = await fleet.call('GET', `/api/v1/instances?name=web&host=alpha&state=RUNNING&type=${type}`)
    return body.items[0]
  })
}

it('containers that run go to another host over SFTP, through the death of the control plane', async (t) => {
  const [alpha, beta] = [await aHost(t, 'alpha'), await aHost(t, 'beta')]
  for (const one of alpha.containers) one.run('web')
  const vault = await openVault(t, 'sftp')
  const fleet = await startFleet(t, { agents: [alpha.wish, beta.wish] })
  const target = String((await fleet.call('POST', '/api/v1/targets', vault.body)).body.id)
  const going = await Promise.all(
    alpha.containers.map(async (here, n) => {
      const original = await found(fleet, here.type)
      const path = `/api/v1/instances/${original.id}/migrate`
      const { status, body } = await fleet.call('POST', path, { host: 'beta', target })
      t.is(status, 202, JSON.stringify(body))
      return { here, there: beta.containers[n] ?? here, original, id: String(body.id) }
    }),
  )
  await until('one is on its way', async () => {
    const [row] = await fleet.sql(`select count(*)::int as n from instance_move where phase <> 'copy'`)
    return row.n > 0
  })
  await fleet.planes[0]?.signal('SIGKILL')
  await fleet.ready({ plane: 0 })

  for (const { here, there, original, id } of going) {
    const moved = await until(
      'it is over',
      async () => {
        const { body } = await fleet.call('GET', `/api/v1/migrations/${id}`)
        return ['moved', 'failed', 'cancelled'].includes(body.state) ? body : undefined
      },
      WAIT_MS,
    )
    t.like(moved, { state: 'moved', phase: 'ended', reason: null, to: { host: 'beta' } })
    t.log(`${here.type}: down for ${moved.downtime_ms} ms`)
    const made = await fleet.call('GET', `/api/v1/instances/${moved.to.instance_id}`)
    t.like(made.body, { state: 'RUNNING', host: 'beta', type: here.type })
    const last = ticks(here)
    await counts(there)
    t.true(last > 0 && ticks(there) > last, 'it went on from where it was')
    t.is(ticks(here), last, 'the original stands still')
    t.false(here.isRunning('web'))
    const left = await fleet.call('GET', `/api/v1/instances/${original.id}`)
    t.like(left.body, { state: 'STOPPED', moved_to: 'beta' })
  }
  await fleet.quiet()
  const jobs = await fleet.sql(
    `select kind, count(*)::int as n from job where kind <> 'dataset.create' group by 1 order by 1`,
  )
  const [one, two] = [going.length, 2 * going.length]
  t.deepEqual(jobs, [
    { kind: 'instance.stop', n: one },
    { kind: 'point.create', n: two },
    { kind: 'point.delete', n: two },
    { kind: 'point.restore', n: two },
  ])
  t.deepEqual((await fleet.call('GET', '/api/v1/points')).body.items, [])
  t.deepEqual(
    (await vault.files()).filter((file) => file.includes('migration@')),
    [],
  )
})
