import { execFileSync } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { openDriver } from '../agent/drivers/registry.ts'
import type { JobMemory, Step } from '../agent/pipelines/pipeline.ts'
import { openWork } from '../agent/pipelines/pipelines.ts'
import { runPipeline } from '../agent/pipelines/run-pipeline.ts'
import { openPoints } from '../agent/points/open-points.ts'
import { FleetError } from '../shared/errors.ts'
import type { JobSpec } from '../shared/job-spec.ts'
import type { PointRef } from '../shared/point-spec.ts'
import { newBoxKeys, openSealed, sealFor } from '../shared/sealed-box.ts'
import { contextOf, memoryOf } from './contracts/pipeline-contract.ts'
import { canMount, mountLoop } from './harness/loop-mount.ts'
import {
  change,
  failureOf,
  fill,
  OWN_TARGET,
  type PointOrders,
  pointOrders,
  readable,
  refOf,
  restoreTo,
  SERIES,
  SETTLED_MS,
  seen,
  threePoints,
} from './harness/point-orders.ts'
import { makeUnreadable } from './harness/rot.ts'

/** Everything that an order may leave behind, on the target, in the pool, beside a destination and in the agent's own state. */
function standing({ pool, outside, backups, root, tools }: PointOrders): readonly string[] {
  const state = join(tools.points.scratch, '..')
  const own = ['own-datasets', 'indexes', 'stamps', 'scratch'].map((name) => join(state, name))
  return [pool, outside, root, backups, ...own].flatMap((folder) =>
    existsSync(folder) ? readdirSync(folder).toSorted() : [],
  )
}

/** Ends the process after `count` steps, as far as the world can tell: nothing is undone. */
async function killedAfter(made: PointOrders, spec: JobSpec, count: number) {
  const [jobId, memory] = [randomUUID(), memoryOf()]
  const work = await openWork(spec, jobId, made.tools)
  for (const step of work.steps.slice(0, count)) await step.run(contextOf(jobId, memory))
  await work.close?.()
  return { jobId, memory, staged: memory.staged() ?? '' }
}

const LATER = 'later'

type Ordered = 'point.create' | 'merge' | 'point.rehearse' | 'point.restore' | 'file' | 'into'

function orderOf(made: PointOrders, kind: Ordered, refs: readonly PointRef[]): JobSpec {
  switch (kind) {
    case 'point.create':
      return made.create([])
    case 'merge':
      return made.create(refs, { consolidate: true })
    case 'point.rehearse':
      return { kind, ...readable(made, refs), pool: 'a' }
    case 'file':
      return restoreTo(made, refs, { kind: 'host', path: join(made.outside, randomUUID()) }, ['docs/a.txt'])
    case 'into': {
      writeFileSync(join(made.root, LATER), 'is not in the point')
      const place = { pool: 'a', dataset: made.dataset }
      return { ...restoreTo(made, refs, { kind: 'dataset', place, path: '/' }), overwrite: true }
    }
    case 'point.restore':
      return restoreTo(made, refs, { kind: 'new', place: { pool: 'a', dataset: randomUUID() } })
  }
}

/** Goes on with a killed order, and cancels it as soon as it has looked around. */
async function cancelledAtOnce(
  made: PointOrders,
  spec: JobSpec,
  killed: { readonly jobId: string; readonly memory: JobMemory },
  meanwhile?: () => Promise<unknown>,
) {
  const cancel = new AbortController()
  const work = await openWork(spec, killed.jobId, made.tools)
  const [first, ...rest] = work.steps
  if (first === undefined) throw new Error('no steps')
  const look: Step = {
    ...first,
    async run(context) {
      await first.run(context)
      await meanwhile?.()
      cancel.abort()
    },
  }
  return runPipeline({ ...work, steps: [look, ...rest] }, contextOf(killed.jobId, killed.memory, cancel.signal))
}

for (const driver of ['copy', 'btrfs'] as const) {
  for (const kind of ['point.create', 'merge', 'point.rehearse', 'point.restore', 'file', 'into'] as const) {
    test(`${driver}, ${kind}: killed after any step, it is taken up again, or cancelled without a trace`, async (t) => {
      if (driver === 'btrfs' && !canMount(t)) return t.pass()
      const made = await pointOrders(t, { driver })
      const { refs, trees } = await threePoints(made)
      const steps = (await openWork(orderOf(made, kind, refs), randomUUID(), made.tools)).steps
      const commitsAt = steps.findIndex((step) => step.commits)
      const last = commitsAt < 0 ? steps.length - 1 : commitsAt
      for (let count = 1; count <= last; count += 1) {
        const spec = orderOf(made, kind, refs)
        const before = standing(made)
        const failure = await failureOf(t, cancelledAtOnce(made, spec, await killedAfter(made, spec, count)))
        t.is(failure.code, 'cancelled', `after ${count} steps`)
        t.deepEqual(standing(made), before, `after ${count} steps`)
      }
      for (let count = 1; count <= last + 1; count += 1) {
        const spec = orderOf(made, kind, refs)
        const before = standing(made)
        await made.run(spec, await killedAfter(made, spec, count))
        await endedWell(t, made, spec, trees.at(-1) ?? '')
        if (kind === 'point.rehearse') t.deepEqual(standing(made), before)
      }
      t.false(standing(made).some((name) => name.includes('partial')))
      t.false(made.tools.points.own.all().some(({ use }) => use.kind === 'job'))
    })
  }
}

test('a deletion that had begun when its agent died is finished, also when it is cancelled then', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  const { id: pointId, name } = refs.at(-1) ?? { id: '', name: '' }
  const spec = { kind: 'point.delete', target: made.target, series: SERIES, pointId, name } as const
  const cancelled = async ({ jobId, memory }: { readonly jobId: string; readonly memory: JobMemory }) =>
    runPipeline(await openWork(spec, jobId, made.tools), contextOf(jobId, memory, AbortSignal.abort()), true)
  const { steps } = await openWork(spec, randomUUID(), made.tools)
  const hides = steps.findIndex((step) => step.commits)
  const early = await killedAfter(made, spec, hides)
  t.is((await failureOf(t, cancelled(early))).code, 'cancelled')
  t.true(existsSync(join(made.backups, name)))
  const late = await killedAfter(made, spec, hides + 1)
  t.false(existsSync(join(made.backups, name)))
  t.deepEqual((await cancelled(late)).result, {})
  const told = JSON.parse(readFileSync(join(made.backups, 'backup-metadata'), 'utf8'))
  t.is(told.points.length, refs.length - 1)
  t.false(standing(made).some((one) => one.includes('partial')))
})

async function endedWell(t: ExecutionContext, made: PointOrders, spec: JobSpec, tree: string): Promise<void> {
  if (spec.kind === 'point.create') {
    const path = join(made.outside, randomUUID())
    await made.run(restoreTo(made, [refOf(spec)], { kind: 'host', path }))
    t.is(seen(path), seen(made.root))
  } else if (spec.kind === 'point.restore') {
    const { destination } = spec
    if (destination.kind === 'dataset') t.is(seen(made.root), tree)
    if (destination.kind === 'new') t.is(seen(join(made.pool, destination.place.dataset)), seen(made.root))
    if (destination.kind === 'host') t.is(readFileSync(destination.path, 'utf8'), 'alpha\nround 1\nround 2\n')
  }
}

test('an order that is cancelled while it writes leaves nothing, wherever it was', async (t) => {
  const made = await pointOrders(t)
  writeFileSync(join(made.root, 'noise'), randomBytes(40_000_000))
  const before = standing(made)
  const cancel = new AbortController()
  const progress = ({ bytes = 0 }) => bytes > 1_000_000 && cancel.abort()
  const stopped = made.run(made.create(), { context: { signal: cancel.signal, progress } })
  t.is((await failureOf(t, stopped)).code, 'cancelled')
  t.deepEqual(
    standing(made).filter((name) => name !== 'noise'),
    before.filter((name) => name !== 'noise'),
  )
})

test('what cannot be read, or is no part of the tree, makes a point partial and says what', async (t) => {
  if (!canMount(t)) return t.pass()
  const made = await pointOrders(t)
  fill(made.outside)
  const mountPoint = join(made.outside, 'docs', 'mnt')
  mkdirSync(mountPoint)
  execFileSync('/bin/mount', ['-t', 'tmpfs', 'none', mountPoint])
  t.teardown(() => execFileSync('/bin/umount', [mountPoint]))
  writeFileSync(join(mountPoint, 'elsewhere'), '')
  const spec = made.create([], { source: { kind: 'path', path: made.outside } })
  const result = await made.run(spec)
  t.is(result.problemCount, 1)
  t.deepEqual(result.problems, [{ path: 'docs/mnt', reason: 'mount-point' }])
})

test('what its disk does not give back is damage: verify names it, and the next point stands alone', async (t) => {
  if (!canMount(t)) return t.pass()
  const disk = mountLoop(t, 'btrfs', 512 * 2 ** 20)
  const made = await pointOrders(t, { backupRoot: join(disk, 'backups') })
  for (let n = 0; n < 300; n += 1) writeFileSync(join(made.root, `${n}-${'x'.repeat(100)}`), randomBytes(1_000))
  const unreadable = async (path: string) => {
    makeUnreadable(disk, path)
    t.throws(() => readFileSync(path), { code: 'EIO' })
  }
  const full = made.create()
  await made.run(full)
  const refs = [refOf(full)]
  const verify = () => made.run({ kind: 'point.verify', ...readable(made, refs) } as const)
  const metadata = join(made.backups, 'backup-metadata')
  appendFileSync(metadata, ' '.repeat(10_000))
  await unreadable(metadata)
  await verify()

  await unreadable(join(made.backups, full.name, 'data.tar.zst'))
  t.like(await failureOf(t, verify()), { code: 'corrupt' })
  const destination = { kind: 'host', path: join(made.outside, 'restored') } as const
  t.like(await failureOf(t, made.run(restoreTo(made, refs, destination))), { code: 'corrupt' })

  await unreadable(join(made.backups, full.name, 'index.ndjson.zst'))
  const found = await failureOf(t, verify())
  t.is(found.code, 'corrupt', found.message)
  t.deepEqual(found.members, [`${full.name}/index.ndjson.zst`])
  writeFileSync(join(made.root, 'new'), 'new')
  const next = made.create(refs)
  t.regex((await made.run(next)).fullReason ?? '', /damaged/)
  t.is(JSON.parse(readFileSync(metadata, 'utf8')).points.length, 2)
})

test('encrypted points need no identity to be made and looked into, and one to be restored', async (t) => {
  const keys = newBoxKeys()
  const unseal = (sealed: Buffer, context: string) => openSealed(keys.privateKey, sealed, context)
  const { identity, recipient } = ageKeys(t) ?? {}
  if (identity === undefined || recipient === undefined) return t.pass()
  const target = { ...OWN_TARGET, recipients: [recipient] }
  const made = await pointOrders(t, { target, unseal })
  fill(made.root)
  const full = made.create()
  t.like(await made.run(full), { encrypted: true, full: true })
  change(made.root, 1)
  const increment = made.create([refOf(full)])
  t.like(await made.run(increment), { encrypted: true, full: false })
  t.deepEqual(
    readdirSync(join(made.backups, increment.name)).filter((name) => !name.endsWith('.age')),
    ['restore.sh', 'sums'],
  )
  const refs = [refOf(full), refOf(increment)]
  const restore = () => restoreTo(made, refs, { kind: 'host', path: join(made.outside, randomUUID()) })
  t.is((await failureOf(t, made.run(restore()))).code, 'refused')
  t.true((await made.run({ kind: 'point.verify', ...readable(made, refs) })).bytes > 0)
  const [jobId, spec] = [randomUUID(), restore()]
  const sealed = (context: string) =>
    sealFor(keys.publicKey, Buffer.from(JSON.stringify({ identity })), context).toString('base64')
  await made.run(spec, { jobId, context: { secret: sealed(`order/${jobId}`) } })
  t.is(seen(spec.destination.kind === 'host' ? spec.destination.path : ''), seen(made.root))
  const foreign = made.run(restore(), { context: { secret: sealed(`order/${randomUUID()}`) } })
  t.is((await failureOf(t, foreign)).code, 'refused')
  const long = made.create(refs, { consolidate: true })
  t.regex((await made.run(long)).fullReason ?? '', /identity/)
})

test('a point rests on no other that somebody who may read it cannot open', async (t) => {
  const [own, other] = [ageKeys(t)?.recipient, ageKeys(t)?.recipient]
  if (own === undefined || other === undefined) return t.pass()
  const made = await pointOrders(t)
  fill(made.root)
  const refs: PointRef[] = []
  const point = async (recipients: readonly string[]) => {
    const spec = { ...made.create(refs), target: { ...made.target, recipients: [...recipients] } }
    const { full, fullReason } = await made.run(spec)
    if (full) refs.length = 0
    refs.push(refOf(spec))
    return full ? fullReason : 'increment'
  }
  t.is(await point([]), null)
  t.is(await point([own]), 'increment', 'anybody may read what it rests on')
  t.regex((await point([other])) ?? '', /recipients/)
  t.is(await point([other]), 'increment')
  t.regex((await point([other, own])) ?? '', /recipients/)
  t.is(await point([own]), 'increment')
  t.regex((await point([])) ?? '', /recipients/)
})

function ageKeys(
  t: Pick<ExecutionContext, 'log'>,
): { readonly identity: string; readonly recipient: string } | undefined {
  if (!existsSync('/usr/bin/age-keygen')) {
    t.log('SKIPPED: age-keygen is not installed')
    return undefined
  }
  const text = execFileSync('/usr/bin/age-keygen', { stdio: ['ignore', 'pipe', 'ignore'] }).toString()
  const identity = /^AGE-SECRET-KEY-1\S+$/m.exec(text)?.[0] ?? ''
  return { identity, recipient: /public key: (age1\S+)/.exec(text)?.[1] ?? '' }
}

test('a secret for a host without a key of its own is refused', async (t) => {
  const made = await pointOrders(t)
  t.like(await failureOf(t, made.run(made.create(), { context: { secret: 'AAAA' } })), { code: 'refused' })
})

test('when the agent starts, what it made for jobs that are over is destroyed, and what it keeps stays', async (t) => {
  const made = await pointOrders(t)
  const { own } = made.tools.points
  const make = async (use: Parameters<typeof own.claim>[0]['use']) => {
    const dataset = randomUUID()
    own.claim({ pool: 'a', dataset, use })
    await made.driver.create(dataset, contextOf(''))
    return dataset
  }
  const resumed = randomUUID()
  const [over, working, base] = [
    await make({ kind: 'job', jobId: randomUUID() }),
    await make({ kind: 'job', jobId: resumed }),
    await make({ kind: 'base', source: made.dataset, series: 'own/x', at: 2 }),
  ]
  const superseded = await make({ kind: 'base', source: made.dataset, series: 'own/x', at: 1 })
  const state = join(made.tools.points.scratch, '..')
  const pool = join(made.pool, '..')
  const again = openPoints(
    { state, backupRoot: join(state, 'backups'), sourcePaths: [], poolPaths: [], allowLoopback: false },
    undefined,
  )
  const driver = await openDriver({ name: 'a', path: pool, driver: 'copy' })
  await again.sweep(new Map([['a', driver]]), (jobId) => jobId === resumed)
  t.deepEqual(readdirSync(made.pool).toSorted(), [made.dataset, working, base].toSorted())
  t.false(again.tools.own.has(over, 'job') || again.tools.own.has(superseded, 'base'))
  await again[Symbol.asyncDispose]()
})

test('what cannot be destroyed when the agent starts keeps neither it nor the rest from that, and goes another time', async (t) => {
  const made = await pointOrders(t)
  const { own } = made.tools.points
  const left = [randomUUID(), randomUUID(), randomUUID()]
  for (const dataset of left) {
    own.claim({ pool: 'a', dataset, use: { kind: 'job', jobId: randomUUID() } })
    await made.driver.create(dataset, contextOf(''))
  }
  const [busy, broken] = left
  const destroy: typeof made.driver.destroy = async (dataset, watch) => {
    if (dataset === busy) throw new FleetError('busy', 'somebody has it open')
    if (dataset === broken) throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' })
    await made.driver.destroy(dataset, watch)
  }
  const over = () => false
  const failures = await made.points.sweep(new Map([['a', { ...made.driver, destroy }]]), over)
  t.deepEqual(failures.map(({ code }) => code).toSorted(), ['busy', 'internal'])
  t.deepEqual(
    left.map((dataset) => own.has(dataset, 'job')),
    [true, true, false],
  )
  t.deepEqual(await made.points.sweep(new Map([['a', made.driver]]), over), [])
  t.deepEqual(readdirSync(made.pool), [made.dataset])
})

test('a backup root in a pool is refused', (t) => {
  const folder = `/var/tmp/holdfast-test-${randomUUID()}`
  mkdirSync(join(folder, 'pool', 'backups'), { recursive: true })
  t.teardown(() => rmSync(folder, { recursive: true }))
  const config = { state: folder, sourcePaths: [], poolPaths: [join(folder, 'pool')], allowLoopback: false }
  t.throws(() => openPoints({ ...config, backupRoot: join(folder, 'pool', 'backups') }, undefined), {
    message: /HOLDFAST_AGENT_BACKUP_ROOT: must not be below the pool/,
  })
})

test('metadata that are damaged or gone are made again from what stands there', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  const path = join(made.backups, 'backup-metadata')
  truncateSync(path, 100)
  const spec = made.create(refs)
  await made.run(spec)
  const { points } = JSON.parse(readFileSync(path, 'utf8'))
  t.deepEqual(
    points.map((point: { name: string; sumsSha256: string }) => [point.name, point.sumsSha256.length]),
    [...refs, spec].map(({ name }) => [name, 64]),
  )
})

test('a point of another group that has the same name and the same content is not taken for one’s own', async (t) => {
  const made = await pointOrders(t)
  fill(made.root)
  await delay(SETTLED_MS)
  for (const code of ['exists', 'cancelled'] as const) {
    const theirs = made.create()
    const ours = { ...made.create(), target: { ...made.target, id: randomUUID() }, name: theirs.name }
    const killed = await killedAfter(made, ours, 3)
    const sums = () => readFileSync(join(made.backups, theirs.name, 'sums'), 'utf8')
    const publish = () => made.run(theirs)
    if (code === 'exists') await publish()
    const ended = code === 'exists' ? made.run(ours, killed) : cancelledAtOnce(made, ours, killed, publish)
    t.is((await failureOf(t, ended)).code, code)
    t.true(killed.staged.includes(JSON.stringify(sums())), 'both are of the same bytes')
  }
  t.false(standing(made).some((name) => name.includes('partial')))
})
