import { randomBytes, randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { StepContext } from '../agent/pipelines/pipeline.ts'
import { listTarget } from '../agent/points/target-listing.ts'
import { putSmall } from '../agent/points/target-sink.ts'
import { openTarget, readHostKey } from '../agent/transfer/open-target.ts'
import type { Progress } from '../shared/job-event.ts'
import type { JobSpec } from '../shared/job-spec.ts'
import type { OrderTarget, PointRef } from '../shared/point-spec.ts'
import { PointVerified } from '../shared/point-spec.ts'
import { newBoxKeys, openSealed, sealFor } from '../shared/sealed-box.ts'
import {
  S3TargetConfig,
  SftpTargetConfig,
  type TargetConfig,
  type TargetSecret,
  WebdavTargetConfig,
} from '../shared/target-config.ts'
import { DAV_PASSWORD, DAV_USER, DavServer, lacksDav } from './harness/dav-server.ts'
import { temporaryDirectory } from './harness/loop-mount.ts'
import {
  change,
  failureOf,
  fill,
  pointOrders,
  readable,
  refOf,
  restoreTo,
  SERIES,
  seen,
} from './harness/point-orders.ts'
import { lacksSsh, SshServer } from './harness/ssh-server.ts'
import { lacksSwift, S3_ACCOUNT, SwiftServer } from './harness/swift-server.ts'
import { testUnless } from './harness/system-packages.ts'
import { context, namesIn, watch } from './transfer/target-setup.ts'

/** With one slot and one only, an increment still reads what it completes while it is written. */
const limits = { slots: 1 }

interface Opened {
  readonly config: TargetConfig
  readonly secret: TargetSecret
}

async function sftp(t: ExecutionContext): Promise<Opened> {
  const folder = temporaryDirectory(t)
  const server = await SshServer.start(folder)
  t.teardown(() => server.kill())
  const root = join(folder, 'root')
  mkdirSync(root)
  const place = {
    protocol: 'sftp',
    name: 'vault',
    host: '127.0.0.1',
    port: server.port,
    base: root,
    username: 'root',
    limits,
  }
  const hostKey = await readHostKey(SftpTargetConfig.parse(place), context, watch.signal)
  return { config: SftpTargetConfig.parse({ ...place, hostKey }), secret: { privateKey: server.privateKey } }
}

async function webdav(t: ExecutionContext): Promise<Opened> {
  const server = await DavServer.start(temporaryDirectory(t))
  t.teardown(() => server.kill())
  const place = {
    protocol: 'webdav',
    name: 'nas',
    host: '127.0.0.1',
    port: server.port,
    encrypt: false,
    base: '/',
    limits,
  }
  return { config: WebdavTargetConfig.parse({ ...place, username: DAV_USER }), secret: { password: DAV_PASSWORD } }
}

async function s3(t: ExecutionContext): Promise<Opened> {
  const server = await SwiftServer.start(temporaryDirectory(t))
  t.teardown(() => server.stop())
  await server.makeBucket('bucket')
  const place = {
    protocol: 's3',
    name: 'cloud',
    host: '127.0.0.1',
    port: server.port,
    encrypt: false,
    pathStyle: true,
    limits,
  }
  const config = S3TargetConfig.parse({
    ...place,
    bucket: 'bucket',
    base: '/fleet',
    accessKeyId: S3_ACCOUNT.accessKeyId,
  })
  return { config, secret: { password: S3_ACCOUNT.secretAccessKey } }
}

const PROTOCOLS = { sftp: [sftp, lacksSsh()], webdav: [webdav, lacksDav()], s3: [s3, lacksSwift()] } as const

/** So slowly that all of them are at work at one time: three seconds for the noise. */
const SLOW = 2_000_000
const NOISE_BYTES = 3 * SLOW

/** Orders on the same place of one server, each under a target of its own. */
async function sharing(t: ExecutionContext, { config, secret }: Opened) {
  const keys = newBoxKeys()
  const unseal = (sealed: Buffer, end: string) => openSealed(keys.privateKey, sealed, end)
  const slow = { ...config, limits: { ...config.limits, bytesPerSecond: SLOW } }
  const newTarget = (): OrderTarget => ({ id: randomUUID(), config: slow, secretId: randomUUID(), recipients: [] })
  const made = await pointOrders(t, { target: newTarget(), unseal })
  const run = <Spec extends JobSpec>(spec: Spec, more: Partial<StepContext> = {}) => {
    const jobId = randomUUID()
    const sealed = sealFor(keys.publicKey, Buffer.from(JSON.stringify(secret)), `order/${jobId}`).toString('base64')
    return made.run(spec, { jobId, context: { secret: sealed, ...more } })
  }
  return { made, run, newTarget }
}

for (const [protocol, [open, lacks]] of Object.entries(PROTOCOLS)) {
  testUnless(lacks)(
    `${protocol}: two groups or fleets that keep points in one place neither mix nor sweep each other's files`,
    async (t) => {
      const opened = await open(t)
      const { made, run, newTarget } = await sharing(t, opened)
      fill(made.root)
      writeFileSync(join(made.root, 'noise'), randomBytes(NOISE_BYTES))
      const ours = made.create()
      const sameName = { ...made.create(), target: newTarget(), name: ours.name }
      const nextName = { ...made.create(), target: newTarget() }
      const theirs: Promise<unknown>[] = []
      const progress = ({ bytes = 0 }: Progress) => {
        if (bytes > 1_000_000 && theirs.length === 0)
          theirs.push(...[sameName, nextName].map((spec) => run(spec).catch((error: unknown) => error)))
      }
      const mine = await run(ours, { progress }).catch((error: unknown) => error)
      const outcomes = [mine, ...(await Promise.all(theirs))]
      const specs = [ours, sameName, nextName]
      t.is(outcomes.length, specs.length)
      t.false(outcomes[2] instanceof Error, String(outcomes[2]))
      const named = outcomes.slice(0, 2).filter((outcome) => !(outcome instanceof Error)).length
      t.true(named === 1 || (protocol === 's3' && named === 0), outcomes.map(String).join('; '))
      for (const [at, spec] of specs.entries()) {
        if (outcomes[at] instanceof Error) continue
        const chain = [refOf(spec)]
        const target = { ...spec.target, config: opened.config }
        const place = { target, series: SERIES, pointId: spec.pointId, chain }
        await t.notThrowsAsync(run({ kind: 'point.verify', ...place }), spec.name)
      }
    },
  )
}

for (const [protocol, [open, lacks]] of Object.entries(PROTOCOLS)) {
  testUnless(lacks)(
    `${protocol}: points are made, restored, verified, merged and deleted, and a cancel leaves nothing`,
    async (t) => {
      const { config, secret } = await open(t)
      const keys = newBoxKeys()
      const unseal = (sealed: Buffer, end: string) => openSealed(keys.privateKey, sealed, end)
      const target = { id: randomUUID(), config, secretId: randomUUID(), recipients: [] }
      const made = await pointOrders(t, { target, unseal })
      const server = await openTarget(config, secret, context)
      t.teardown(() => server[Symbol.asyncDispose]())
      const run = <Spec extends JobSpec>(spec: Spec, more: Partial<StepContext> = {}) => {
        const jobId = randomUUID()
        const sealed = sealFor(keys.publicKey, Buffer.from(JSON.stringify(secret)), `order/${jobId}`).toString('base64')
        return made.run(spec, { jobId, context: { secret: sealed, ...more } })
      }

      fill(made.root)
      writeFileSync(join(made.root, 'noise'), randomBytes(12_000_000))
      const cancel = new AbortController()
      const progress = ({ bytes = 0 }: Progress) => {
        if (bytes > 1_000_000) cancel.abort()
      }
      t.is((await failureOf(t, run(made.create(), { signal: cancel.signal, progress }))).code, 'cancelled')
      t.deepEqual(await namesIn(server, SERIES).catch(() => []), [])

      const full = made.create()
      t.like(await run(full), { full: true })
      change(made.root, 1)
      const increment = made.create([refOf(full)])
      t.like(await run(increment), { full: false })
      const refs = [refOf(full), refOf(increment)]
      const to = (name: string) => ({ kind: 'host', path: join(made.outside, name) }) as const
      await run(restoreTo(made, refs, to('all')))
      t.is(seen(join(made.outside, 'all')), seen(made.root))
      await run(restoreTo(made, refs, to('one'), ['docs/a.txt']))
      t.is(readFileSync(join(made.outside, 'one'), 'utf8'), 'alpha\nround 1\n')
      t.true(PointVerified.parse(await run({ kind: 'point.verify', ...readable(made, refs) })).bytes > 21_000_000)

      const merged = made.create(refs, { consolidate: true })
      t.like(await run(merged), { full: true, synthetic: true })
      await run(restoreTo(made, [refOf(merged)], to('merged')))
      t.is(seen(join(made.outside, 'merged')), seen(made.root))

      const shown = async (path: string) => {
        const id = randomUUID()
        const sealed = sealFor(keys.publicKey, Buffer.from(JSON.stringify(secret)), `read/${id}`).toString('base64')
        const question = {
          id,
          request: { target, path, limit: 100 },
          sealed,
          signal: watch.signal,
          untilMs: Number.POSITIVE_INFINITY,
        }
        return (await listTarget(made.tools.points, question)).items.map(({ name }) => name)
      }
      const whole = await shown(SERIES)
      const [first, last] = refs
      if (!first || !last) return t.fail()
      const about = ({ id: pointId, name }: PointRef) => ({ target, series: SERIES, pointId, name })
      for (const ref of [last, first]) {
        for (const _ of [1, 2]) await run({ kind: 'point.trash', ...about(ref) })
      }
      t.deepEqual(
        (await shown(SERIES)).filter((name) => /^\d/.test(name)),
        [merged.name],
      )
      t.deepEqual(await shown(''), [SERIES.split('/')[0]])
      const verify = { kind: 'point.verify', ...readable(made, refs) } as const
      t.is((await failureOf(t, run(verify))).code, 'corrupt')
      // Somebody else's point of that name is neither mixed with it nor taken for it.
      const other = { id: randomUUID(), name: first.name }
      t.is((await failureOf(t, run({ kind: 'point.untrash', ...about(other) }))).code, 'not_found')
      await run({ kind: 'point.delete', ...about(other), trashed: true })
      if (protocol === 's3') t.is((await failureOf(t, run({ ...made.create(), name: first.name }))).code, 'exists')
      for (const ref of refs) {
        for (const _ of [1, 2]) await run({ kind: 'point.untrash', ...about(ref) })
      }
      t.deepEqual(await shown(SERIES), whole)
      await run(verify)

      if (protocol === 's3') {
        // What an interrupted rename leaves on S3.
        const half = `${SERIES}/${last.name}/sums.trashed`
        for (const kind of ['point.untrash', 'point.trash'] as const) {
          await putSmall(server, half, 'x', watch.signal)
          await run({ kind, ...about(last) })
        }
        await run({ kind: 'point.untrash', ...about(last) })
        t.is(await server.stat(half, watch), undefined)
        await run(verify)
      }
      await run({ kind: 'point.trash', ...about(last) })
      for (const ref of [last, first]) await run({ kind: 'point.delete', ...about(ref), trashed: ref === last })
      t.deepEqual((await namesIn(server, SERIES)).toSorted(), [`${merged.name}/`, 'backup-metadata', 'image.tar'])
      // Where directories with something in them could be removed, empty ones stay.
      const left = protocol === 'webdav' ? ['.trash/'] : []
      t.deepEqual(await namesIn(server), [...left, `${SERIES.split('/')[0]}/`])
      if (protocol === 'webdav') t.deepEqual(await namesIn(server, `.trash/${SERIES}`), [])
    },
  )
}
