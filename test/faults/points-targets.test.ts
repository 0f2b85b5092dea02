import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { pointHost, pointUser, sameTree, tidy, treeOf } from '../harness/point-fleet.ts'
import { sharedFleet } from '../harness/shared-fleet.ts'
import { stepsIn } from '../harness/steps.ts'
import { startStopwatch } from '../harness/stopwatch.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'
import { LACKS, openVault, type Vault } from '../harness/vaults.ts'

/** Where connections are cut; HOLDFAST_SEED chooses others. */
const SEED = Number(process.env.HOLDFAST_SEED ?? 7)
const CUTS = 4

const lacks =
  lacksServers() ??
  lacksTool('mkfs.btrfs', 'zstd', 'setfacl', 'getfattr', 'unshare') ??
  (process.geteuid?.() === 0 ? undefined : 'mounting a loop image needs root')
const PROTOCOLS = ['sftp', 'webdav'] as const

const at = sharedFleet(test, async (scope) => {
  if (lacks !== undefined) return undefined
  const folder = temporaryDirectory(scope)
  const hosts = join(folder, 'hosts')
  writeFileSync(hosts, '127.0.0.1 localhost nas.test db.test\n')
  const steps = stepsIn(folder)
  const host = pointHost(scope, { hosts, environment: steps.environment })
  const there = PROTOCOLS.filter((protocol) => LACKS[protocol]() === undefined)
  const vaults = await Promise.all(there.map((protocol) => openVault(scope, protocol)))
  return { host, hosts, steps, vaults, agents: [host.wish] }
})

function world(t: ExecutionContext) {
  const shared = at(t)
  return { ...shared, user: pointUser(t, shared.fleet) }
}
type World = ReturnType<typeof world>

async function targetOn({ fleet }: World, body: object): Promise<string> {
  const made = await fleet.call('POST', '/api/v1/targets', body)
  if (made.status !== 201) throw new Error(JSON.stringify(made.body))
  return made.body.id
}

async function large({ user }: World, name: string): Promise<string> {
  const path = await user.dataset(name)
  writeFileSync(join(path, 'large'), randomBytes(6_000_000))
  mkdirSync(join(path, 'many'))
  for (let n = 0; n < 200; n += 1) writeFileSync(join(path, 'many', `${n}`), randomBytes(1_000))
  return path
}

/** Files of anything but the points that are good. */
async function unclaimed({ fleet }: World, vault: Vault, series: string): Promise<readonly string[]> {
  const { body } = await fleet.call('GET', '/api/v1/points?status=good&limit=100')
  const names = body.items.map((point: { name: string }) => `/${point.name}/`)
  const files = (await vault.files()).filter(
    (path) => path.includes(`${series}/`) && !/\/(backup-metadata|image\.tar(\.age)?)$/.test(path),
  )
  return files.filter((path) => !names.some((name: string) => path.includes(name)))
}

for (const protocol of PROTOCOLS) {
  testUnless(lacks ?? LACKS[protocol]())(
    `${protocol}: connections cut anywhere while it is written and read`,
    async (t) => {
      const here = world(t)
      const { fleet, host, user } = here
      const vault = here.vaults.find((one) => one.protocol === protocol)
      if (vault === undefined) return t.fail()
      const target = await targetOn(here, { ...vault.body, name: `cut-${protocol}` })
      const dataset = `cut-${protocol}`
      const path = await large(here, dataset)
      const tree = treeOf(path)
      const first = await user.good({ source: { dataset }, target })
      let seed = SEED
      const random = () => {
        seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
        return seed / 2 ** 32
      }
      for (let cut = 0; cut < CUTS; cut += 1) {
        const afterBytes = Math.floor(random() * first.size_bytes)
        vault.proxy.set({ kind: 'cut', afterBytes })
        const { point, job } = await user.make({ source: { dataset }, target })
        const isGood = point.status === 'good'
        t.is(job.state, isGood ? 'succeeded' : 'failed', `cut after ${afterBytes}`)
        if (!isGood) t.is(job.error.code, 'unavailable', JSON.stringify(job.error))
        vault.proxy.set({ kind: 'none' })
        if (isGood) await user.remove(point.id)
        t.deepEqual(await unclaimed(here, vault, `dataset-backup@${dataset}`), [], `cut after ${afterBytes}`)
      }
      vault.proxy.set({ kind: 'cut', afterBytes: 3_000 })
      const into = join(host.outside, protocol)
      const destination = { host: host.wish.name, path: into }
      const restored = await user.work(`/${first.id}/restore`, { destination })
      vault.proxy.set({ kind: 'none' })
      if (restored.state !== 'succeeded') await user.done(`/${first.id}/restore`, { destination })
      sameTree(t, into, tree)
      rmSync(into, { recursive: true })
      await tidy(t, fleet, host)
    },
  )
}

testUnless(lacks ?? LACKS.sftp())(
  'a server killed in the middle of a backup, and back: good at last, or failed without a trace',
  async (t) => {
    const here = world(t)
    const { fleet, host, steps, user } = here
    const vault = here.vaults.find((one) => one.protocol === 'sftp')
    if (vault === undefined) return t.fail()
    const target = await targetOn(here, { ...vault.body, name: 'killed' })
    const path = await large(here, 'killed')
    vault.proxy.set({ kind: 'stall', afterBytes: 2_000_000 })
    const { body } = await fleet.call('POST', '/api/v1/points', { source: { dataset: 'killed' }, target })
    await until('it is in the middle', async () => {
      const job = (await fleet.call('GET', `/api/v1/jobs/${body.job_id}`)).body
      return job.progress?.bytes > 0
    })
    await vault.kill()
    vault.proxy.set({ kind: 'none' })
    vault.proxy.dropAll()
    await vault.resume()
    const job = await fleet.ended(body.job_id, 60_000)
    if (job.state === 'failed') {
      t.is(job.error.code, 'unavailable')
      await user.good({ source: { dataset: 'killed' }, target })
    } else t.is((await user.get(body.id)).status, 'good')
    t.deepEqual(await unclaimed(here, vault, 'dataset-backup@killed'), [])

    // Its agent killed with the snapshot taken, and the server away when the next one looks: the snapshot goes all the same.
    steps.set({ step: 'snapshot', place: 'after', act: { killAfterMs: 0 } })
    const { body: next } = await fleet.call('POST', '/api/v1/points', { source: { dataset: 'killed' }, target })
    await steps.died(fleet.agent('a'))
    await vault.kill()
    await fleet.ready({ agent: host.wish.name })
    const failed = await fleet.ended(next.job_id, 60_000)
    t.is(failed.error?.code, 'unavailable', JSON.stringify(failed.error))
    await tidy(t, fleet, host)
    await vault.resume()
    const last = await user.good({ source: { dataset: 'killed' }, target, incremental: true })
    await user.done(`/${last.id}/restore`, { destination: { new_dataset: 'whole' } })
    const { mountpoint } = (await fleet.call('GET', '/api/v1/datasets/whole')).body
    sameTree(t, mountpoint, treeOf(path))
  },
)

testUnless(lacks ?? LACKS.sftp())(
  'a server that shows another key is sent nothing, until somebody pins that one',
  async (t) => {
    const here = world(t)
    const { fleet, host, user } = here
    const vault = here.vaults.find((one) => one.protocol === 'sftp')
    if (vault === undefined) return t.fail()
    const target = await targetOn(here, { ...vault.body, name: 'pinned' })
    await user.dataset('pinned')
    await user.good({ source: { dataset: 'pinned' }, target })
    vault.changeKey?.()
    await vault.kill()
    await vault.resume()
    const { point, job } = await user.make({ source: { dataset: 'pinned' }, target })
    t.is(point.status, 'failed')
    t.is(job.error?.code, 'refused', JSON.stringify(job.error))
    t.regex(job.error.message, /host key/)
    const shown = (await fleet.call('POST', `/api/v1/targets/${target}/ping`)).body
    t.false(shown.alive)
    const other = await targetOn(here, { ...vault.body, name: 'pinned-anew' })
    const { host_key } = (await fleet.call('GET', `/api/v1/targets/${other}`)).body
    t.is((await fleet.call('PUT', `/api/v1/targets/${target}`, { host_key })).status, 200)
    await user.good({ source: { dataset: 'pinned' }, target, incremental: true })
    await tidy(t, fleet, host)
  },
)

/** A server that answers as nobody should, and how often it was asked. */
async function hostile(
  t: ExecutionContext,
  answer: RequestListener,
): Promise<{ readonly port: number; readonly asked: string[] }> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    answer(request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  // as: a TCP server that listens has an AddressInfo
  return { port: (server.address() as AddressInfo).port, asked }
}

const DAV = { protocol: 'webdav', host: '127.0.0.1', encrypt: false, username: 'u', password: 'hunter2' }

/** A backup to it, a ping of it and a look into it all fail, and say no more than they may. */
async function isRefused(t: ExecutionContext, here: World, target: string, words: RegExp): Promise<void> {
  const { fleet, user } = here
  const health = await fleet.call('POST', `/api/v1/targets/${target}/ping`)
  t.is(health.body.alive, false, JSON.stringify(health.body))
  t.regex(health.body.reason, words)
  const { point, job } = await user.make({ source: { dataset: 'ssrf' }, target })
  t.is(point.status, 'failed')
  t.is(job.error?.code, 'refused', JSON.stringify(job.error))
  const listed = await fleet.call('GET', `/api/v1/targets/${target}/files`)
  t.true(listed.status >= 400, JSON.stringify(listed.body))
  t.false(JSON.stringify([health.body, job, listed.body]).includes('hunter2'))
}

testUnless(lacks)(
  'addresses that no target may have: the metadata service, the fleet itself, names of theirs, redirects to them',
  async (t) => {
    const here = world(t)
    const { fleet, host, hosts, user } = here
    await user.dataset('ssrf')
    const ports = {
      postgres: Number(new URL(fleet.backends.databaseUrl).port),
      nats: Number(new URL(fleet.backends.natsUrl).port),
      http: Number(new URL(fleet.url()).port),
    }
    for (const [name, place] of Object.entries({
      metadata: { host: '169.254.169.254', port: 80 },
      mapped: { host: '::ffff:169.254.169.254', port: 80 },
      postgres: { host: '127.0.0.1', port: ports.postgres },
      nats: { host: 'localhost', port: ports.nats },
      http: { host: '127.0.0.1', port: ports.http },
      named: { host: 'db.test', port: ports.postgres },
    })) {
      const made = await fleet.call('POST', '/api/v1/targets', { ...DAV, ...place, name: `ssrf-${name}` })
      if (made.status === 201)
        await isRefused(t, here, made.body.id, /address|listener|fleet|link-local|reach|refused|metadata/i)
      else t.true([400, 403].includes(made.status), JSON.stringify(made.body))
    }

    const { port, asked } = await hostile(t, (_, response) => {
      // A connection that stands stays where it was checked; each of these is a new one.
      response.writeHead(404, { connection: 'close' }).end()
    })
    const target = await targetOn(here, { ...DAV, host: 'nas.test', port, name: 'turncoat' })
    await fleet.call('POST', `/api/v1/targets/${target}/ping`)
    t.true(asked.length > 0, 'the name leads to a server that may be asked')
    writeFileSync(hosts, '127.0.0.1 localhost\n169.254.169.254 nas.test\n')
    asked.length = 0
    await isRefused(t, here, target, /address|link-local|metadata/i)
    t.deepEqual(asked, [])
    writeFileSync(hosts, '127.0.0.1 localhost nas.test db.test\n')
    await tidy(t, fleet, host)
  },
)

testUnless(lacks)('a server that sends elsewhere, lists without end, or names what is not in it', async (t) => {
  const here = world(t)
  const { fleet, host } = here
  const entry = (href: string, inner = '') =>
    `<D:response><D:href>${href}</D:href><D:propstat><D:prop><D:resourcetype>${inner}</D:resourcetype><D:getcontentlength>-5</D:getcontentlength></D:prop></D:propstat></D:response>`
  const root = entry('/', '<D:collection/>')
  const away = await hostile(
    t,
    (_, response) => void response.writeHead(302, { location: `${fleet.url()}/metrics` }).end(),
  )
  await isRefused(t, here, await targetOn(here, { ...DAV, port: away.port, name: 'away' }), /redirect/i)

  const names = await hostile(t, (_, response) => {
    const hrefs = ['/good', '/..', '/%2e%2e%2fetc', '/a%2fb', '/deep/er', '/nul%00']
    const body = `<D:multistatus xmlns:D="DAV:">${root}${hrefs.map((href) => entry(href)).join('')}</D:multistatus>`
    response.writeHead(207, { 'content-type': 'application/xml' }).end(body)
  })
  const named = await targetOn(here, { ...DAV, port: names.port, name: 'names' })
  const listed = await fleet.call('GET', `/api/v1/targets/${named}/files`)
  if (listed.status === 200) {
    t.deepEqual(
      listed.body.items.map((item: { name: string }) => item.name),
      ['good'],
    )
    t.true(listed.body.items.every((item: { size_bytes: number }) => item.size_bytes >= 0))
  } else t.true(listed.status >= 500)

  const endless = await hostile(t, (_, response) => {
    response.writeHead(207)
    response.write(`<D:multistatus xmlns:D="DAV:">${root}`)
    let number = 0
    const more = () => {
      for (let room = true; room && !response.destroyed; number += 1) room = response.write(entry(`/name-${number}`))
      response.once('drain', more)
    }
    more()
  })
  const long = await targetOn(here, { ...DAV, port: endless.port, name: 'endless' })
  const stopwatch = startStopwatch()
  t.true((await fleet.call('GET', `/api/v1/targets/${long}/files`)).status >= 400)
  t.true(stopwatch.within(6_000), `${stopwatch}`)
  t.is((await fleet.call('GET', '/api/v1/hosts/a')).body.state, 'online')
  await tidy(t, fleet, host)
})
