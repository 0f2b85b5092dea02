import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type Containers, lxcContainers, podmanContainers } from '../harness/containers.ts'
import type { TestFleet } from '../harness/fleet.ts'
import { mountLoop, temporaryDirectory } from '../harness/loop-mount.ts'
import { lacksLxc, openLxcRoom } from '../harness/lxc-room.ts'
import { lacksPodman, openPodmanRoom } from '../harness/podman-room.ts'
import { litterIn, pointHost, straysOf } from '../harness/point-fleet.ts'
import { readExchanges, replay } from '../harness/replay.ts'
import { type FileScope, sharedFleet } from '../harness/shared-fleet.ts'
import { stepsIn } from '../harness/steps.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'
import { LACKS, openVault, type Vault } from '../harness/vaults.ts'

const EXCHANGES = join(import.meta.dirname, '../../control-plane/dialects/qnap/exchanges')
const SILENT = '127.0.0.1:9'
const RUN_MS = 60_000
const BACKUP_BYTES = 64 * 2 ** 20
const TICKS = '/root/ticks'
const MARK = '/root/mark'

const common = lacksServers() ?? lacksTool('mkfs.btrfs', 'zstd')
const LACKING = {
  lxc: common ?? lacksLxc() ?? LACKS.sftp(),
  docker: common ?? (await lacksPodman()) ?? LACKS.webdav(),
} as const

// biome-ignore lint/suspicious/noExplicitAny: answers as the API shows them
type Shown = any

/** Of the containers of a type that are there from the beginning: one that is only named, and two that are backed up. */
const namesOf = (type: Containers['type']) => [`documented-${type}`, `utest-${type}`, `faults-${type}`] as const

async function roomsOf(scope: FileScope) {
  const lxc = LACKING.lxc === undefined ? openLxcRoom() : undefined
  if (lxc) scope.teardown(() => lxc.close())
  const podman = LACKING.docker === undefined ? openPodmanRoom() : undefined
  if (podman) scope.teardown(() => podman.close())
  await podman?.serve()
  const environment = {
    HOLDFAST_AGENT_LXC_PATH: lxc?.folder ?? '',
    HOLDFAST_AGENT_DOCKER_SOCKET: podman?.socketPath ?? '',
  }
  const containers: readonly Containers[] = [
    ...(lxc ? [lxcContainers(lxc)] : []),
    ...(podman ? [podmanContainers(podman)] : []),
  ]
  // Before the agent, which looks for them when it starts, and then now and then.
  for (const one of containers) for (const name of namesOf(one.type)) one.run(name)
  return { environment, containers }
}

const at = sharedFleet(test, async (scope) => {
  if (LACKING.lxc !== undefined && LACKING.docker !== undefined) return undefined
  const { environment, containers } = await roomsOf(scope)
  const steps = stepsIn(temporaryDirectory(scope))
  const backups = mountLoop(scope, 'ext4', BACKUP_BYTES)
  const host = pointHost(scope, { backups, environment: { ...environment, ...steps.environment } })
  const protocols = containers.map(({ type }) => (type === 'lxc' ? 'sftp' : 'webdav') as Vault['protocol'])
  const vaults = await Promise.all(protocols.map((protocol) => openVault(scope, protocol)))
  return { host, steps, containers, vaults, agents: [host.wish] }
})

function opened(t: ExecutionContext, type: Containers['type']) {
  const shared = at(t)
  const containers = shared.containers.find((one) => one.type === type)
  const vault = shared.vaults.find(({ protocol }) => protocol === (type === 'lxc' ? 'sftp' : 'webdav'))
  if (containers === undefined || vault === undefined) throw new Error(`no ${type} here`)
  return { ...shared, containers, vault, user: station(t, shared.fleet, type) }
}

/** A user of the Container Station. */
function station(t: ExecutionContext, fleet: TestFleet, type: Containers['type']) {
  const call = async (method: string, path: string, body?: unknown): Promise<Shown> => {
    const answer = await fleet.call(method, `/container-station/api/v1${path}`, body)
    t.is(answer.status, 200, `${method} ${path}: ${JSON.stringify(answer.body)}`)
    return answer.body
  }
  async function idle(path: string): Promise<Shown> {
    let shown: Shown
    await until(
      `${path} is idle`,
      async () => {
        shown = await call('GET', path)
        const { code } = shown.state
        return path.startsWith('/restore') ? code === 'completed' : !['waiting', 'running'].includes(code)
      },
      RUN_MS,
    )
    return shown
  }
  const run = async (id: number) => (await fleet.call('GET', `/api/v1/schedules/${id}/runs`)).body.items[0]
  const begin = (body: object): Promise<Shown> =>
    call('POST', '/restore/', { job_name: 'Back', type, ...body, src: { target: 'local', path: '/nightly', ...body } })
  return {
    call,
    idle,
    run,
    /** Its agent has told of it. */
    known: (name: string) =>
      until(
        `${name} is known`,
        async () => {
          const rows = await fleet.sql(
            'select 1 from instance where name = $1 and gone_at is null and ref is not null',
            [name],
          )
          return rows.length > 0
        },
        RUN_MS,
      ),
    backup: (body: object) =>
      call('POST', '/backup/', {
        type,
        dest: { target: 'local', path: '/nightly' },
        at: { repeat: 'daily', start: 60 },
        features: ['compress', 'pause'],
        ...body,
      }),
    /** Runs it now. @returns its row in the ledger and its point */
    async good(id: number) {
      await call('PUT', `/backup/${id}/run`)
      await idle(`/backup/${id}`)
      const row = await run(id)
      t.is(row.outcome, 'ran', String(row.reason))
      return (await fleet.call('GET', `/api/v1/points/${row.point_id}`)).body
    },
    begin,
    async restore(body: object): Promise<Shown> {
      const { id } = await begin(body)
      return (await idle(`/restore/${id}`)).state
    },
  }
}

/** Where its backups go beside the host's own disk. */
async function targetOn(fleet: TestFleet, { protocol, body }: Vault): Promise<number> {
  const { name, host, port, base, username, password, encrypt } = body
  const words = { name, protocol, ipaddr: `${host}:${port}`, base, username, password }
  const made = await fleet.call('POST', '/api/v1/target/', protocol === 'sftp' ? words : { ...words, encrypt })
  return made.body.id
}

const ticksOf = (containers: Containers, name: string) => Number(containers.read(name, TICKS))

for (const type of ['lxc', 'docker'] as const) {
  const serial = testUnless(LACKING[type])

  serial(`${type}: the documented exchanges about backups and restores`, async (t) => {
    const { fleet, containers, user } = opened(t, type)
    const [name] = namesOf(type)
    await user.known(name)
    const exchanges = (await readExchanges(EXCHANGES)).filter(({ title }) => /^(Backups|Restores):/.test(title))
    t.is(exchanges.length, 2)
    const names = { container: name, restored: `${name}-again` }
    const variables = { silent: SILENT, type, ...names, run: type }
    t.deepEqual(await replay(exchanges, { baseUrl: fleet.url(), token: fleet.token, variables }), [])
    const body = { job_name: 'J', container_id: 'nobody', type, dest: { target: 'local', path: '/x' } }
    const unknown = await fleet.call('POST', '/api/v1/backup', { ...body, at: { repeat: 'daily', start: 60 } })
    t.like(unknown, { status: 404, body: { error: { code: 404 } } })
    t.regex(unknown.body.error.message, /^container_id: there is no (lxc|docker) container 'nobody'/)
    containers.destroy(name)
  })

  serial(
    `${type}: backed up while it writes, destroyed, restored: it runs, and its data is the snapshot's`,
    async (t) => {
      const { fleet, host, containers, vault, user } = opened(t, type)
      const [, name] = namesOf(type)
      await until('it counts', () => ticksOf(containers, name) > 5)
      containers.write(name, MARK, 'as it was')
      await user.known(name)
      const local = await user.backup({ job_name: `Local-${type}`, container_id: name })
      const dest = { target: 'remote', profile: await targetOn(fleet, vault), path: '/nightly' }
      const remote = await user.backup({ job_name: `Remote-${type}`, container_id: name, dest })
      const before = ticksOf(containers, name)
      const points = [await user.good(local.id), await user.good(remote.id)]
      const after = ticksOf(containers, name)
      for (const point of points) {
        t.like(point, { status: 'good', consistency: 'crash', source: { instance: name, type } })
        t.is(point.series, `nightly/container-backup@${point === points[0] ? 'Local' : 'Remote'}-${type}`)
      }
      t.true((await vault.files()).some((path) => path.endsWith('data.tar.zst')))
      await until('it counts on', () => ticksOf(containers, name) > after)
      containers.write(name, MARK, 'changed')
      containers.destroy(name)
      t.false(containers.isThere(name))

      const src = { target: 'remote', profile: dest.profile, portfolio: `Remote-${type}` }
      const state = await user.restore({ container_id: name, ...src })
      t.like(state, { code: 'completed', result: 0 }, String(state.reason))
      t.false(containers.isRunning(name))
      t.is(containers.read(name, MARK), 'as it was')
      const ticks = ticksOf(containers, name)
      t.true(ticks >= before && ticks <= after, `${before} ${ticks} ${after}`)
      containers.start(name)
      await until('it counts on from there', () => ticksOf(containers, name) > ticks)

      // Over one that runs: refused, and it runs on.
      await user.known(name)
      const running = await user.restore({ container_id: name, portfolio: `Local-${type}` })
      t.like(running, { code: 'completed', result: -1 })
      t.regex(running.reason, /stop/)
      t.true(containers.isRunning(name))
      containers.write(name, MARK, 'to be replaced')
      containers.stop(name)
      const replaced = await user.restore({ container_id: name, portfolio: `Local-${type}`, start: true })
      t.like(replaced, { code: 'completed', result: 0 }, String(replaced.reason))
      t.true(containers.isRunning(name))
      t.is(containers.read(name, MARK), 'as it was')
      await until('the dataset of the one before is gone', async () => {
        const rows = await fleet.sql(`select 1 from dataset where tags ->> 'holdfast.instance' = $1`, [
          `${type}:${name}`,
        ])
        return rows.length === 1
      })

      // The dataset that it lies in goes only after it.
      const [lies] = await fleet.sql(`select name from dataset where tags ->> 'holdfast.instance' = $1`, [
        `${type}:${name}`,
      ])
      const forget = () => fleet.call('DELETE', `/api/v1/datasets/${lies.name}`)
      // An engine has its root in an image, and this one has no mounts.
      if (type === 'lxc') t.regex((await forget()).body.message, new RegExp(`the container '${name}' lies in it`))
      // It lies in a dataset now: held only while a snapshot is taken.
      await user.known(name)
      const snapped = await user.good(local.id)
      t.like(snapped, { status: 'good', consistency: 'crash' })
      const beside = await user.restore({ container_id: `${name}-2`, portfolio: `Local-${type}`, start: true })
      t.like(beside, { code: 'completed', result: 0 }, String(beside.reason))
      t.true(containers.isRunning(name) && containers.isRunning(`${name}-2`))
      await until('both count', () => ticksOf(containers, `${name}-2`) > 0)
      await fleet.quiet()
      t.deepEqual(litterIn(host.backups), [])
      t.deepEqual(await straysOf(fleet, host), [])
      for (const one of [name, `${name}-2`]) containers.destroy(one)
      t.is((await forget()).status, 204)
    },
  )
}

testUnless(LACKING.lxc)(
  'lxc: whatever dies or fills up, the container goes on, the ledger tells it, and the next run is good',
  async (t) => {
    const { fleet, host, steps, containers, vault, user } = opened(t, 'lxc')
    const [, , name] = namesOf('lxc')
    await user.known(name)
    const local = await user.backup({ job_name: 'Faults', container_id: name })
    const profile = await targetOn(fleet, { ...vault, body: { ...vault.body, name: 'faults' } })
    const dest = { target: 'remote', profile, path: '/faults' }
    const remote = await user.backup({ job_name: 'Far', container_id: name, dest })
    const goesOn = async () => {
      const ticks = ticksOf(containers, name)
      await until('it counts on', () => ticksOf(containers, name) > ticks)
    }
    const died = async () => {
      await steps.died(fleet.agent('a'))
      await goesOn()
      await fleet.ready({ agent: 'a' })
    }
    /** @param mend makes it good again */
    const fails = async (id: number, reason: RegExp, mend: () => unknown) => {
      await user.call('PUT', `/backup/${id}/run`)
      t.is((await user.idle(`/backup/${id}`)).state.result, -1)
      const row = await user.run(id)
      t.is(row.outcome, 'failed')
      t.regex(row.reason, reason)
      await goesOn()
      await mend()
      await user.good(id)
    }

    // Killed while it holds the container still.
    steps.set({ step: 'write', place: 'before', act: { killAfterMs: 150 } })
    await user.call('PUT', `/backup/${local.id}/run`)
    await died()
    t.like((await user.idle(`/backup/${local.id}`)).state, { result: 0 })
    t.is((await user.run(local.id)).outcome, 'ran')
    await goesOn()

    const ballast = join(host.backups, 'ballast')
    execFileSync('/bin/sh', ['-c', 'dd if=/dev/zero of="$1" bs=64k status=none || true', 'fill', ballast], {
      stdio: 'pipe',
    })
    await fails(local.id, /full|room|space/, () => rmSync(ballast))
    await vault.kill()
    await fails(remote.id, /./, () => vault.resume())

    // A restore over it that is stopped leaves it as it is, and so does one whose agent dies until it is done.
    containers.stop(name)
    containers.write(name, MARK, 'untouched')
    const over = { container_id: name, portfolio: 'Faults' }
    steps.set({ step: 'place', place: 'before', act: 'hold' })
    const { id } = await user.begin(over)
    await steps.held()
    t.is((await user.call('GET', `/restore/${id}`)).state.code, 'running')
    await user.call('PUT', `/restore/${id}/stop`)
    steps.open()
    t.is((await user.idle(`/restore/${id}`)).state.result, -2)
    t.is(containers.read(name, MARK), 'untouched')
    await fleet.quiet()
    t.deepEqual(await straysOf(fleet, host), [])
    steps.set({ step: 'place', place: 'after', act: { killAfterMs: 0 } })
    const killed = await user.begin(over)
    await steps.died(fleet.agent('a'))
    await fleet.ready({ agent: 'a' })
    t.like((await user.idle(`/restore/${killed.id}`)).state, { result: 0 })
    t.is(containers.read(name, MARK), '')
    containers.start(name)
    await goesOn()
    await fleet.quiet()
    t.deepEqual(litterIn(host.backups), [])
    t.deepEqual(await straysOf(fleet, host), [])
    containers.destroy(name)
  },
)
