import { execFileSync, spawn } from 'node:child_process'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { PipelineTools } from '../agent/pipelines/pipeline.ts'
import { openWork } from '../agent/pipelines/pipelines.ts'
import { runPipeline } from '../agent/pipelines/run-pipeline.ts'
import { replaceFile } from '../agent/points/durable-file.ts'
import { openVolumes } from '../agent/volumes/open-volumes.ts'
import { FleetError } from '../shared/errors.ts'
import type { JobKind, JobSpec, ResultOf, SpecOf } from '../shared/job-spec.ts'
import type { PointRef } from '../shared/point-spec.ts'
import { watch } from './contracts/driver-contract.ts'
import { contextOf, memoryOf, pipelineContract } from './contracts/pipeline-contract.ts'
import { ageKeys } from './harness/age.ts'
import { canMount, mountLoop, temporaryDirectory } from './harness/loop-mount.ts'
import { failureOf, pointOrders, readable, refOf, SERIES } from './harness/point-orders.ts'
import { lacksTool, testUnless } from './harness/system-packages.ts'
import { restoreOf } from './harness/volume-restores.ts'
import { DISK, memoryIn, noteOf } from './harness/volume-rolls.ts'

const RESTORES = join(import.meta.dirname, 'harness/volume-restores.ts')
const MIB = 2 ** 20
const CHUNK = 2 ** 18
const SIZE = 64 * MIB
const PLACE = { pool: 'a', volume: 'disk' }

/** Of what is kept for all tests of this file. */
const cleanUps: (() => void)[] = []
const KEPT = { teardown: (act: () => void) => void cleanUps.push(act) }
test.after.always(() => {
  for (const cleanUp of cleanUps.toReversed()) cleanUp()
})

async function room(t: Pick<ExecutionContext, 'teardown'>, driver: 'btrfs' | 'copy', size = 0) {
  const path = driver === 'btrfs' ? mountLoop(t, 'btrfs', 2 ** 30) : temporaryDirectory(t)
  const made = await pointOrders(t, { driver, on: path })
  const volumes = await openVolumes({ name: 'a', path, driver })
  const tools: PipelineTools = { ...made.tools, volumes: () => volumes }
  const device = join(path, 'volumes', 'disk.raw')
  if (size > 0) await volumes.create({ volume: 'disk', sizeBytes: size, createParent: false }, watch)
  return {
    ...made,
    ...{ path, volumes, tools, device },
    /** A folder of volumes stays behind the first of them. */
    files: () => [join(path, 'volumes'), made.backups].flatMap(filesBelow),
    // as: the kind's own pipeline answers so
    run: <Spec extends JobSpec>(spec: Spec) => made.run<JobKind>(spec, { tools }) as Promise<ResultOf<Spec['kind']>>,
    create: (bases: readonly PointRef[] = [], changed: Partial<SpecOf<'point.create'>> = {}) =>
      made.create(bases, { source: { kind: 'volume', place: PLACE }, about: { volume: 'disk' }, ...changed }),
    /** What is left of orders in the pool and in the agent's own state. */
    kept: () => ({
      staged: readdirSync(join(path, 'volumes', '.staged')),
      captures: namesBelow(join(path, 'volumes', '.points')),
      own: made.tools.points.own.all().map(({ dataset, use }) => [dataset, use.kind]),
    }),
  }
}
type Room = Awaited<ReturnType<typeof room>>

function namesBelow(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).flatMap((name) => readdirSync(join(folder, name))) : []
}

function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return []
  const all = readdirSync(folder, { recursive: true, withFileTypes: true })
  return all
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .toSorted()
}

function put(device: string, chunk: number, bytes: Buffer): void {
  const fd = openSync(device, 'r+')
  writeSync(fd, bytes, 0, bytes.length, chunk * CHUNK)
  closeSync(fd)
}

const hashOf = (device: string) => createHash('sha256').update(readFileSync(device)).digest('hex')

/** A full point and two increments: of the second some is zeros again. And what the volume was at each. */
async function threePoints({ run, create, device }: Room) {
  const [refs, hashes, made]: [PointRef[], string[], ResultOf<'point.create'>[]] = [[], [], []]
  for (let round = 0; round < 3; round += 1) {
    if (round === 0) for (let n = 0; n < 40; n += 1) put(device, 3 * n, randomBytes(CHUNK))
    if (round === 1) put(device, 9, randomBytes(1000))
    if (round === 2) for (const n of [0, 12]) put(device, n, n === 0 ? Buffer.alloc(CHUNK) : randomBytes(CHUNK))
    const order = create(refs)
    hashes.push(hashOf(device))
    made.push(await run(order))
    refs.push(refOf(order))
  }
  return { refs, hashes, made }
}

function restoreTo(made: Room, refs: readonly PointRef[], volume: string, more = {}) {
  const place = { pool: 'a', volume }
  return {
    kind: 'volume.restore',
    ...readable(made, refs),
    place,
    mode: 'new',
    createParent: true,
    ...more,
  } as const
}

test('points of a volume are made, completed, verified, rehearsed, restored beside it and over it, and deleted', async (t) => {
  if (!canMount(t)) return t.pass()
  const at = await room(t, 'btrfs', SIZE)
  const { run, create, volumes, device } = at
  const { refs, hashes, made } = await threePoints(at)
  t.deepEqual(
    made.map(({ full, consistency, problemCount }) => [full, consistency, problemCount]),
    [
      [true, 'crash', 0],
      [false, 'crash', 0],
      [false, 'crash', 0],
    ],
  )
  const [full, first, second] = made.map(({ sourceBytes }) => sourceBytes)
  t.true((full ?? 0) >= 40 * CHUNK && (full ?? 0) < 40 * CHUNK + 1000, String(full))
  for (const bytes of [first, second]) t.true((bytes ?? 0) >= CHUNK && (bytes ?? 0) < CHUNK + 1000, String(bytes))
  const base = refs.at(-1)?.id ?? ''
  t.deepEqual(at.kept(), { staged: [], captures: [base], own: [[base, 'base']] })

  await run({ kind: 'point.verify', ...readable(at, refs) })
  const rehearsed = await run({ kind: 'point.rehearse', ...readable(at, refs), pool: 'a' })
  t.true(rehearsed.bytes >= 39 * CHUNK && rehearsed.seconds > 0, JSON.stringify(rehearsed))
  for (const n of refs.keys()) {
    const { volume, bytes } = await run(restoreTo(at, refs.slice(0, n + 1), `back/of-${n}`))
    t.is(hashOf(volume.device), hashes[n] ?? '', `point ${n}`)
    t.true(bytes >= 39 * CHUNK)
    t.true(statSync(volume.device).blocks * 512 < 48 * CHUNK, 'what is zeros takes no room')
    t.like(await volumes.find(`back/of-${n}`), { guid: volume.guid, sizeBytes: SIZE, origin: undefined })
  }
  t.is((await failureOf(t, run(restoreTo(at, refs, 'back/of-0')))).code, 'exists')
  t.is((await failureOf(t, run(restoreTo(at, refs, 'none/x', { createParent: false })))).code, 'not_found')
  t.is((await failureOf(t, run(restoreTo(at, refs, 'absent', { mode: 'over' })))).code, 'not_found')

  const before = await volumes.find('disk')
  await volumes.snapshot({ volume: 'disk', snapshot: 'kept' }, watch)
  const over = restoreTo(at, refs.slice(0, 1), 'disk', { mode: 'over', sizeBytes: 2 * SIZE })
  const { volume } = await run(over)
  t.not(volume.guid, before?.guid)
  t.is(volume.sizeBytes, 2 * SIZE)
  t.is(
    hashOf(device),
    createHash('sha256')
      .update(readFileSync(join(at.pool, '../volumes/back+/of-0.raw')))
      .update(Buffer.alloc(SIZE))
      .digest('hex'),
  )
  t.truthy(await volumes.findSnapshot('disk', 'kept'))

  // The chain goes on from there, also with a volume that is larger now.
  const next = create(refs)
  const later = await run(next)
  t.false(later.full)
  t.true(later.sourceBytes >= 3 * CHUNK && later.sourceBytes < 4 * CHUNK, String(later.sourceBytes))
  const all = [...refs, refOf(next)]
  t.is(hashOf((await run(restoreTo(at, all, 'back/last'))).volume.device), hashOf(device))

  const merged = create(all, { consolidate: true })
  t.like(await run(merged), { full: true, synthetic: true })
  t.is(hashOf((await run(restoreTo(at, [refOf(merged)], 'back/merged'))).volume.device), hashOf(device))

  const drop = ({ id, name }: PointRef) =>
    run({ kind: 'point.delete', target: at.target, series: SERIES, pointId: id, name })
  for (const ref of [refOf(merged), ...all.toReversed()]) await drop(ref)
  t.deepEqual(
    readdirSync(at.backups).filter((name) => name !== 'backup-metadata' && name !== 'image.tar'),
    [],
  )
  t.deepEqual(at.kept(), { staged: [], captures: [], own: [] })
})

let template: Promise<{ readonly folders: readonly [string, string]; readonly refs: readonly PointRef[] }> | undefined

/** A small volume with a point and an increment, made once and copied for each test. */
async function makeTemplate() {
  const at = await room(KEPT, 'copy', 2 * MIB)
  put(at.device, 0, randomBytes(MIB))
  const full = at.create()
  await at.run(full)
  put(at.device, 1, randomBytes(1000))
  const next = at.create([refOf(full)])
  await at.run(next)
  await at.volumes.create({ volume: 'other', sizeBytes: MIB, createParent: false }, watch)
  return { folders: [join(at.path, 'volumes'), at.points.backupRoot] as const, refs: [refOf(full), refOf(next)] }
}

async function small(t: ExecutionContext) {
  template ??= makeTemplate()
  const { folders, refs } = await template
  const at = await room(t, 'copy')
  for (const [n, to] of [join(at.path, 'volumes'), at.points.backupRoot].entries())
    execFileSync('/bin/cp', ['-a', `${folders[n]}/.`, to])
  const create: typeof at.create = (bases, changed) => at.create(bases, { name: '20270101T000000Z', ...changed })
  return { ...at, create, refs }
}

type Ordered = 'increment' | 'new' | 'over'

function orderOf(at: Awaited<ReturnType<typeof small>>, kind: Ordered): JobSpec {
  switch (kind) {
    case 'increment':
      return at.create(at.refs)
    case 'new':
      return restoreTo(at, at.refs, `back/${randomUUID()}`)
    case 'over':
      return restoreTo(at, at.refs, 'other', { mode: 'over' })
  }
}

for (const kind of ['increment', 'over'] as const) {
  pipelineContract<JobKind>(test, {
    kind: 'volume.restore',
    title: `of a volume, ${kind}`,
    async prepare(t) {
      const at = await small(t)
      const order = orderOf(at, kind)
      const observe = async () => ({
        ...{ files: at.files(), kept: at.kept(), disk: hashOf(at.device) },
        other: await at.volumes.find('other'),
      })
      return { open: (jobId) => openWork<JobKind>(order, jobId, at.tools), observe }
    },
  })
}

test('a restore of a volume whose agent is killed after any step is taken up again, or cancelled without a trace', async (t) => {
  const at = await small(t)
  const steps = (await openWork(orderOf(at, 'new'), randomUUID(), at.tools)).steps
  const last = steps.findIndex((step, index) => step.commits || index === steps.length - 1)
  const restarted = async (count: number, order: JobSpec) => {
    const [jobId, memory] = [randomUUID(), memoryOf()]
    for (const step of (await openWork(order, jobId, at.tools)).steps.slice(0, count))
      await step.run(contextOf(jobId, memory))
    await at.volumes.sweep()
    return { jobId, memory }
  }
  for (let count = 1; count <= last; count += 1) {
    const [before, order] = [at.files(), orderOf(at, 'new')]
    const { jobId, memory } = await restarted(count, order)
    const work = await openWork<JobKind>(order, jobId, at.tools)
    await t.throwsAsync(runPipeline(work, contextOf(jobId, memory, AbortSignal.abort()), true), {
      message: 'cancelled',
    })
    t.deepEqual(at.files(), before, `after ${count} steps`)
    t.deepEqual(at.kept(), { staged: [], captures: [], own: [] }, `after ${count} steps`)
  }
  for (let count = 1; count <= last + 1; count += 1) {
    const order = orderOf(at, 'new')
    const { jobId, memory } = await restarted(count, order)
    await runPipeline(await openWork<JobKind>(order, jobId, at.tools), contextOf(jobId, memory), true)
    t.deepEqual(at.kept(), { staged: [], captures: [], own: [] })
    if (order.kind !== 'volume.restore') return t.fail()
    const found = await at.volumes.find(order.place.volume)
    t.is(hashOf(found?.device ?? ''), hashOf(at.device))
  }
})

test('a volume whose agent dies while a point is restored over it is the old one or the new one, whole', async (t) => {
  if (!canMount(t)) return t.pass()
  const at = await room(t, 'btrfs', 4 * MIB)
  put(at.device, 0, randomBytes(4 * MIB))
  const { volumes } = at
  const full = at.create()
  await at.run(full)
  const hashes = [hashOf(at.device)]
  put(at.device, 2, randomBytes(MIB))
  const refs = [refOf(full)]
  const next = at.create(refs)
  await at.run(next)
  refs.push(refOf(next))
  hashes.push(hashOf(at.device))
  const { state, backupRoot } = at.points
  t.is(backupRoot, join(state, 'backups'))
  replaceFile(join(state, 'round'), JSON.stringify({ round: 0, jobId: randomUUID() }))
  const seen: number[] = []
  for (let death = 0; death < 2; death += 1) {
    const args = [RESTORES, at.path, 'share', state, JSON.stringify(refs)]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    await pause(5 + Math.random() * 400)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await volumes.sweep()
    const { round, jobId, staged } = noteOf(state)
    const between = await volumes.find(DISK)
    const guid = staged ? JSON.parse(staged).guid : undefined
    const isNew = between?.guid === guid
    t.is(hashOf(at.device), hashes[(isNew ? round : round + 1) % 2] ?? '', `round ${round}`)
    t.deepEqual(at.kept().staged, [])
    const work = restoreOf(volumes, at.tools.points, { round, jobId, refs })
    const { result } = await runPipeline(work, contextOf(jobId, memoryIn(state, { round, jobId })), true)
    t.is(result.volume.guid, (await volumes.find(DISK))?.guid ?? '')
    t.is(hashOf(at.device), hashes[round % 2] ?? '')
    t.deepEqual(at.kept().staged, [])
    t.deepEqual(
      (await volumes.list('', 10)).map(({ path }) => path),
      [DISK],
    )
    replaceFile(join(state, 'round'), JSON.stringify({ round: round + 1, jobId: randomUUID() }))
    seen.push(round)
  }
  t.log(`killed in rounds ${seen.join(', ')}`)
})

test('what is kept of a volume for its next point goes with the volume, and an agent that starts keeps nothing of what is gone', async (t) => {
  if (!canMount(t)) return t.pass()
  const at = await room(t, 'btrfs', 4 * MIB)
  await at.volumes.snapshot({ volume: 'disk', snapshot: 's' }, watch)
  const order = at.create([], { source: { kind: 'volume', place: PLACE, snapshot: 's' } })
  put(at.device, 0, randomBytes(MIB))
  t.true((await at.run(order)).sourceBytes < 1000, 'it is read as it was at its snapshot')
  t.is(at.kept().captures.length, 1)
  await at.run({ kind: 'volume.delete', place: { ...PLACE, snapshot: 's' } })
  t.is(at.kept().captures.length, 1)
  const restart = () => at.points.sweep(new Map(), () => false, new Map([['a', at.volumes]]))
  await restart()
  t.is(at.kept().captures.length, 1)
  await at.run({ kind: 'volume.delete', place: PLACE })
  t.deepEqual(at.kept(), { staged: [], captures: [], own: [] })

  await at.volumes.create({ volume: 'disk', sizeBytes: MIB, createParent: false }, watch)
  await at.run(at.create())
  t.is(at.kept().own.length, 1)
  await at.volumes.destroy('disk', watch)
  t.is(at.kept().own.length, 1)
  await restart()
  t.deepEqual(at.kept(), { staged: [], captures: [], own: [] })
})

test('what is kept of a volume is of its newest point, also where the clock was ahead once', async (t) => {
  if (!canMount(t)) return t.pass()
  const at = await room(t, 'btrfs', 4 * MIB)
  const { own } = at.tools.points
  put(at.device, 0, randomBytes(MIB))
  const first = at.create()
  await at.run(first)
  for (const one of own.all())
    if (one.use.kind === 'base') own.claim({ ...one, use: { ...one.use, at: Date.now() + 86_400_000 } })
  let refs = [refOf(first)]
  for (let round = 0; round < 2; round += 1) {
    put(at.device, 1, randomBytes(1000))
    const next = at.create(refs)
    await at.run(next)
    const { pointId } = next
    t.deepEqual(at.kept(), { staged: [], captures: [pointId], own: [[pointId, 'base']] })
    refs = [...refs, refOf(next)]
  }
})

test('a point stands of which nothing can be kept for the next one, as a disk of its host is full', async (t) => {
  if (!canMount(t)) return t.pass()
  const at = await room(t, 'btrfs', 4 * MIB)
  put(at.device, 0, randomBytes(MIB))
  const { own } = at.tools.points
  const claim: typeof own.claim = (one) => {
    if (one.use.kind === 'base') throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
    own.claim(one)
  }
  const tools = { ...at.tools, points: { ...at.tools.points, own: { ...own, claim } } }
  const order = at.create()
  const jobId = randomUUID()
  const { result } = await runPipeline(await openWork<JobKind>(order, jobId, tools), contextOf(jobId, memoryOf()))
  t.like(result, { full: true, problemCount: 0 })
  await at.run({ kind: 'point.verify', ...readable(at, [refOf(order)]) })
  await at.points.sweep(new Map(), () => false, new Map([['a', at.volumes]]))
  t.deepEqual(at.kept(), { staged: [], captures: [], own: [] })
})

/** As far as its capture: then the agent is killed. */
async function capture(order: SpecOf<'point.create'>, jobId: string, tools: PipelineTools): Promise<void> {
  const { steps } = await openWork<JobKind>(order, jobId, tools)
  for (const step of steps.slice(0, 2)) await step.run(contextOf(jobId, memoryOf()))
}

test('a point that is begun again is of what was captured first, whatever took the place of that', async (t) => {
  if (!canMount(t)) return t.pass()
  const at = await room(t, 'btrfs', 4 * MIB)
  put(at.device, 0, randomBytes(MIB))
  const older = at.create()
  await at.run(older)
  put(at.device, 0, randomBytes(MIB))
  const [order, jobId, before] = [at.create(), randomUUID(), hashOf(at.device)]
  await capture(order, jobId, at.tools)
  await at.run(restoreTo(at, [refOf(older)], 'disk', { mode: 'over' }))
  await runPipeline(await openWork<JobKind>(order, jobId, at.tools), contextOf(jobId, memoryOf()), true)
  t.is(hashOf((await at.run(restoreTo(at, [refOf(order)], 'back'))).volume.device), before)
})

for (const driver of ['btrfs', 'copy'] as const)
  test(`a point that is begun again is never of another volume that has the name by now, on ${driver}`, async (t) => {
    if (driver === 'btrfs' && !canMount(t)) return t.pass()
    const at = await room(t, driver, 4 * MIB)
    put(at.device, 0, randomBytes(MIB))
    const [order, jobId] = [at.create(), randomUUID()]
    await capture(order, jobId, at.tools)
    await at.run({ kind: 'volume.delete', place: PLACE })
    await at.volumes.create({ volume: 'disk', sizeBytes: MIB, createParent: false }, watch)
    put(at.device, 0, randomBytes(1000))
    const work = await openWork<JobKind>(order, jobId, at.tools)
    const failure = await failureOf(t, runPipeline(work, contextOf(jobId, memoryOf()), true))
    t.is(failure.code, 'not_found')
    t.deepEqual(at.kept(), { staged: [], captures: [], own: [] })
  })

test('a point is deleted whose host has the pool no more that it was made in', async (t) => {
  if (!canMount(t)) return t.pass()
  const at = await room(t, 'btrfs', 4 * MIB)
  put(at.device, 0, randomBytes(MIB))
  const order = at.create()
  await at.run(order)
  const volumes = (): never => {
    throw new FleetError('not_found', `host 'x' has no pool 'a'`)
  }
  const { target, series, pointId, name } = order
  const jobId = randomUUID()
  const deletion = { kind: 'point.delete', target, series, pointId, name } as const
  const work = await openWork<JobKind>(deletion, jobId, { ...at.tools, volumes })
  await runPipeline(work, contextOf(jobId, memoryOf()))
  t.false(existsSync(join(at.backups, name)))
})

testUnless(lacksTool('age-keygen'))('increments of an encrypted volume need no identity on its host', async (t) => {
  const at = await room(t, 'copy', MIB)
  const target = { ...at.target, recipients: [ageKeys().recipient] }
  put(at.device, 0, randomBytes(2 * CHUNK))
  const full = at.create([], { target })
  t.like(await at.run(full), { full: true, encrypted: true })
  put(at.device, 1, randomBytes(100))
  const next = await at.run(at.create([refOf(full)], { target }))
  t.like(next, { full: false, encrypted: true })
  t.true(next.sourceBytes < CHUNK + 1000, String(next.sourceBytes))
})
