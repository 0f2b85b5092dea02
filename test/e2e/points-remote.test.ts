import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ageKeys } from '../harness/age.ts'
import type { TestFleet } from '../harness/fleet.ts'
import { type PointHost, pointHost, pointUser, sameTree, treeOf } from '../harness/point-fleet.ts'
import { sharedFleet } from '../harness/shared-fleet.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'
import { LACKS, openVault, type Vault } from '../harness/vaults.ts'

const lacks =
  lacksServers() ??
  lacksTool('mkfs.btrfs', 'zstd', 'setfacl', 'getfattr') ??
  (process.geteuid?.() === 0 ? undefined : 'mounting a loop image needs root')
const PROTOCOLS = ['sftp', 'webdav', 's3'] as const

const at = sharedFleet(test, async (scope) => {
  if (lacks !== undefined) return undefined
  const host = pointHost(scope)
  const there = PROTOCOLS.filter((protocol) => LACKS[protocol]() === undefined)
  const vaults = await Promise.all(there.map((protocol) => openVault(scope, protocol)))
  return { host, vaults, agents: [host.wish] }
})

function opened(t: ExecutionContext, protocol: Vault['protocol']) {
  const shared = at(t)
  const vault = shared.vaults.find((one) => one.protocol === protocol)
  if (vault === undefined) throw new Error(`no ${protocol} here`)
  return { ...shared, vault, user: pointUser(t, shared.fleet) }
}

function fill(source: string): void {
  writeFileSync(join(source, 'large'), randomBytes(9_000_000))
  mkdirSync(join(source, 'many'))
  for (let n = 0; n < 300; n += 1) writeFileSync(join(source, 'many', `file-${n}`), `content ${n}`)
}

/** Files of points that a series should not have: of any but those named. */
async function leftIn(vault: Vault, series: string, names: readonly string[]): Promise<readonly string[]> {
  const files = (await vault.files()).filter((path) => path.includes(`${series}/`))
  return files.filter(
    (path) =>
      !/\/(backup-metadata|image\.tar(\.age)?)$/.test(path) && !names.some((name) => path.includes(`/${name}/`)),
  )
}

/** Where the Container Station's document knows the protocol, it is made in its words. */
async function targetOn(fleet: TestFleet, { protocol, body }: Vault) {
  if (protocol !== 'webdav') return fleet.call('POST', '/api/v1/targets', body)
  const { name, host, port, base, username, password } = body
  return fleet.call('POST', '/api/v1/target/', { name, ipaddr: `${host}:${port}`, base, username, password })
}

for (const protocol of PROTOCOLS) {
  testUnless(lacks ?? LACKS[protocol]())(
    `${protocol}: backed up, read back by the file, verified, refused, and good again`,
    async (t) => {
      const { fleet, host, vault, user } = opened(t, protocol)
      const made = await targetOn(fleet, vault)
      const target = String(made.body.id)
      const shown = JSON.stringify([made.body, (await fleet.call('GET', '/api/v1/targets')).body])
      for (const secret of Object.values(vault.rightSecret)) t.false(shown.includes(String(secret)))
      const health = await fleet.call('POST', `/api/v1/targets/${target}/ping`)
      t.is(health.body.alive, true, JSON.stringify(health.body))

      const source = await user.dataset(`of-${protocol}`)
      fill(source)
      const order = { source: { dataset: `of-${protocol}` }, target, incremental: true }
      const full = await user.good(order)
      writeFileSync(join(source, 'many', 'file-7'), 'seven')
      rmSync(join(source, 'many', 'file-8'))
      const tree = treeOf(source)
      const next = await user.good(order)
      t.deepEqual(next.chain, [full.id])
      t.is(next.location, null)
      t.true(next.size_bytes < full.size_bytes / 10)
      t.deepEqual(await leftIn(vault, next.series, [full.name, next.name]), [])

      await user.done(`/${next.id}/restore`, {
        paths: ['many/file-7'],
        destination: { dataset: `of-${protocol}`, path: '/one' },
      })
      t.is(readFileSync(join(source, 'one'), 'utf8'), 'seven')
      rmSync(join(source, 'one'))
      await user.done(`/${next.id}/restore`, {
        destination: { host: host.wish.name, path: join(host.outside, protocol) },
      })
      sameTree(t, join(host.outside, protocol), tree)
      const listed = await fleet.call('GET', `/api/v1/points/${next.id}/files?path=many&search=file-29`)
      t.is(listed.body.items.length, 11)
      await user.done(`/${next.id}/verify`)

      const changed = await fleet.call('PUT', `/api/v1/targets/${target}`, vault.wrongSecret)
      t.is(changed.status, 200, JSON.stringify(changed.body))
      const { point: refused, job } = await user.make(order)
      t.is(job.state, 'failed')
      t.is(job.error.code, 'refused', JSON.stringify(job.error))
      t.regex(job.error.message, new RegExp(protocol))
      t.is(refused.status, 'failed')
      await fleet.call('PUT', `/api/v1/targets/${target}`, vault.rightSecret)
      t.deepEqual(await leftIn(vault, next.series, [full.name, next.name]), [])
      const after = await user.good(order)
      t.deepEqual(after.chain, [full.id, next.id])
      for (const { id } of [after, next, full]) await user.remove(id)
      t.deepEqual(await leftIn(vault, next.series, []), [])
      await fleet.quiet()
    },
  )
}

testUnless(lacks ?? LACKS.sftp() ?? LACKS.webdav())(
  'servers that are down: the job says so, nothing of it shows, and the next run after they came back is good',
  async (t) => {
    const { fleet, vaults } = at(t)
    const user = pointUser(t, fleet)
    await user.dataset('down')
    const { items } = (await fleet.call('GET', '/api/v1/targets')).body
    // Swift takes long to come back, and tells nothing that these do not.
    const down = vaults.flatMap((vault) => {
      const target = items.find(({ protocol }: { protocol: string }) => protocol === vault.protocol)
      return vault.protocol === 's3' ? [] : [{ vault, target }]
    })
    const order = ({ id }: { id: string }) => ({ source: { dataset: 'down' }, target: id, incremental: true })
    await Promise.all(down.map(({ vault }) => vault.kill()))
    const outcomes = await Promise.all(down.map(({ target }) => user.make(order(target))))
    for (const { point, job } of outcomes) {
      t.is(job.state, 'failed')
      t.is(job.error.code, 'unavailable', JSON.stringify(job.error))
      t.is(point.status, 'failed')
    }
    for (const { target } of down) {
      t.false((await fleet.call('POST', `/api/v1/targets/${target.id}/ping`)).body.alive)
      t.is((await fleet.call('GET', `/api/v1/target/${target.number}/dirs/`)).status, 503)
    }
    await Promise.all(down.map(({ vault }) => vault.resume()))
    for (const { vault, target } of down) {
      const point = await user.good(order(target))
      t.deepEqual(await leftIn(vault, point.series, [point.name]), [])
    }
    await fleet.quiet()
  },
)

testUnless(lacks ?? LACKS.sftp())('a job on a slow line is cancelled, and leaves nothing', async (t) => {
  const { fleet, vault, user } = opened(t, 'sftp')
  const limits = { slots: 2, bytes_per_second: 100_000, timezone: 'UTC' }
  const made = await fleet.call('POST', '/api/v1/targets', { ...vault.body, name: 'slow', limits })
  t.is(made.status, 201, JSON.stringify(made.body))
  const source = await user.dataset('slow')
  writeFileSync(join(source, 'large'), randomBytes(9_000_000))
  const { body: told } = await fleet.call('POST', '/api/v1/points', {
    source: { dataset: 'slow' },
    target: made.body.id,
  })
  const job = await until('bytes move', async () => {
    const { body } = await fleet.call('GET', `/api/v1/jobs/${told.job_id}`)
    return body.state === 'running' && (body.progress?.bytes ?? 0) > 0 && body
  })
  t.is(typeof job.progress.phase, 'string')
  // The source is free as soon as its snapshot stands.
  t.is((await fleet.call('POST', '/api/v1/snapshots', { source: 'slow', name: 'slow-meanwhile' })).status, 201)
  t.is((await fleet.call('POST', `/api/v1/jobs/${told.job_id}/cancel`)).status, 202)
  t.is((await fleet.ended(told.job_id)).state, 'cancelled')
  const point = await user.get(told.id)
  t.not(point.status, 'good')
  t.deepEqual(await leftIn(vault, 'dataset-backup@slow', []), [])
  await fleet.quiet()
})

testUnless(lacks ?? lacksTool('age', 'age-keygen') ?? LACKS.webdav())(
  'encrypted without the private key on the fleet: increments and browsing work, a restore is refused, age and tar restore it',
  async (t) => {
    const { fleet, host, vault, user } = opened(t, 'webdav')
    const keys = ageKeys()
    const made = await fleet.call('POST', '/api/v1/targets', {
      ...vault.body,
      name: 'sealed',
      recipients: [keys.recipient],
    })
    t.is(made.status, 201, JSON.stringify(made.body))
    const source = await user.dataset('sealed')
    fill(source)
    const order = { source: { dataset: 'sealed' }, target: made.body.id, incremental: true }
    const full = await user.good(order)
    writeFileSync(join(source, 'many', 'file-7'), 'seven')
    rmSync(join(source, 'many', 'file-8'))
    const tree = treeOf(source)
    const next = await user.good(order)
    t.true(full.encrypted && next.encrypted)
    t.deepEqual(next.chain, [full.id])
    const listed = await fleet.call('GET', `/api/v1/points/${next.id}/files?path=many&search=file-29`)
    t.is(listed.body.items?.length, 11, JSON.stringify(listed.body))
    const refused = await user.work(`/${next.id}/restore`, { destination: { new_dataset: 'never' } })
    t.is(refused.state, 'failed')
    t.regex(refused.error.message, /identity|key/)
    t.is((await fleet.call('GET', '/api/v1/datasets/never')).status, 404)
    sameTree(
      t,
      restoredByHand({ host, vault, series: next.series, names: [full.name, next.name], identity: keys.identity }),
      tree,
    )

    const given = await fleet.call('PUT', `/api/v1/targets/${made.body.id}`, { identity: keys.identity })
    t.is(given.status, 200, JSON.stringify(given.body))
    t.false(JSON.stringify(given.body).includes(keys.identity))
    await user.done(`/${next.id}/restore`, {
      destination: { host: host.wish.name, path: join(host.outside, 'opened') },
    })
    sameTree(t, join(host.outside, 'opened'), tree)
    await user.done(`/${next.id}/verify`)
    await user.done(`/${next.id}/rehearse`)
    await fleet.quiet()
  },
)

/** Fetches the archives with curl and restores them with their own script: where there is no Holdfast. */
function restoredByHand(from: {
  readonly host: PointHost
  readonly vault: Vault
  readonly series: string
  readonly names: readonly string[]
  readonly identity: string
}): string {
  const root = join(from.host.outside, 'fetched')
  const kept = from.vault.directory ?? ''
  mkdirSync(root)
  for (const name of from.names)
    execFileSync('/bin/cp', ['-r', join(kept, directoryEndingIn(kept, `${from.series}/${name}`)), root])
  const into = join(from.host.outside, 'by-hand')
  mkdirSync(into)
  writeFileSync(join(from.host.outside, 'identity'), from.identity, { mode: 0o600 })
  execFileSync('/bin/sh', [join(root, from.names.at(-1) ?? '', 'restore.sh'), into], {
    env: { PATH: '/usr/bin:/bin', AGE_IDENTITY: join(from.host.outside, 'identity') },
    stdio: 'pipe',
  })
  return into
}

function directoryEndingIn(root: string, end: string): string {
  const found = readdirSync(root, { recursive: true })
    .map(String)
    .find((path) => path.endsWith(end))
  if (found === undefined) throw new Error(`nothing ends in ${end}`)
  return found
}
