import { spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import ava, { type ExecutionContext } from 'ava'
import { openWork } from '../agent/pipelines/pipelines.ts'
import type { PointRef } from '../shared/point-spec.ts'
import { pipelineContract } from './contracts/pipeline-contract.ts'
import { canMount } from './harness/loop-mount.ts'
import {
  change,
  failureOf,
  fill,
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
import { lacksTool, testUnless } from './harness/system-packages.ts'

/** One after another: together they fill a gigabyte, and each of the programs they start is forked from that. */
const test = ava.serial

async function orders(t: ExecutionContext, driver: 'btrfs' | 'copy'): Promise<PointOrders | undefined> {
  if (driver === 'btrfs' && !canMount(t)) return undefined
  return pointOrders(t, { driver })
}

for (const driver of ['btrfs', 'copy'] as const) {
  test(`${driver}: every point of a chain is restored as its tree was, into a new dataset`, async (t) => {
    const made = await orders(t, driver)
    if (made === undefined) return t.pass()
    const { refs, trees } = await threePoints(made)
    for (const at of trees.keys()) {
      const dataset = randomUUID()
      const destination = { kind: 'new', place: { pool: 'a', dataset } } as const
      const result = await made.run(restoreTo(made, refs.slice(0, at + 1), destination))
      t.is(result.made?.mountpoint, join(made.pool, dataset))
      t.is(result.made?.rootInode, statSync(join(made.pool, dataset)).ino)
      t.is(seen(join(made.pool, dataset)), trees[at] ?? '', `point ${at}`)
    }
    t.deepEqual(
      readdirSync(made.backups).toSorted(),
      ['backup-metadata', 'image.tar', ...refs.map(({ name }) => name)].toSorted(),
    )
    const kept = driver === 'btrfs' ? [refs.at(-1)?.id] : []
    t.deepEqual(
      made.tools.points.own.all().map((own) => own.dataset),
      kept,
      'the newest snapshot is kept where changes can be told',
    )
    t.is(readdirSync(made.pool).length, 4 + kept.length)
    await made.run({ kind: 'dataset.delete', target: { pool: 'a', dataset: made.dataset } })
    t.is(readdirSync(made.pool).length, 3)
  })
}

for (const driver of ['btrfs', 'copy'] as const) {
  test(`${driver}: a whole point takes the place of all that a dataset holds, and increments go on from there`, async (t) => {
    const made = await orders(t, driver)
    if (made === undefined) return t.pass()
    const { refs, trees } = await threePoints(made)
    change(made.root, 3)
    const place = { pool: 'a', dataset: made.dataset }
    const into = restoreTo(made, refs.slice(0, 2), { kind: 'dataset', place, path: '/' })
    t.is((await failureOf(t, made.run(into))).code, 'conflict')
    t.is((await failureOf(t, made.run({ ...into, paths: ['docs'], overwrite: true }))).code, 'invalid')
    const before = seen(made.root)
    const result = await made.run({ ...into, overwrite: true })
    t.is(seen(made.root), trees[1] ?? '')
    t.not(before, trees[1])
    t.deepEqual(result.made, { rootInode: statSync(made.root).ino, mountpoint: made.root })
    t.false(made.tools.points.own.all().some(({ use }) => use.kind === 'job'))
    change(made.root, 4)
    const next = made.create(refs)
    await made.run(next)
    await restoredAs(t, made, [...refs, refOf(next)], seen(made.root))
  })
}

test('files of a point are restored over and beside others', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  const place = { pool: 'a', dataset: made.dataset }
  await made.run(restoreTo(made, refs.slice(0, 1), { kind: 'dataset', place, path: '/back' }, ['docs/a.txt']))
  t.is(readFileSync(join(made.root, 'back'), 'utf8'), 'alpha\n')
  await made.run(restoreTo(made, refs, { kind: 'host', path: join(made.outside, 'docs') }, ['docs']))
  t.is(readFileSync(join(made.outside, 'docs', 'a.txt'), 'utf8'), 'alpha\nround 1\nround 2\n')
  const several = { kind: 'host', path: join(made.outside, 'several') } as const
  await made.run(restoreTo(made, refs, several, ['moved', 'new-2', 'hard']))
  t.deepEqual(readdirSync(several.path).toSorted(), ['hard', 'moved', 'new-2'])
  t.is(statSync(join(several.path, 'moved', 'big')).size, 9_000_000)
  const again = { ...restoreTo(made, refs, several, ['moved']) }
  t.is((await failureOf(t, made.run(again))).code, 'conflict')
  await made.run({ ...again, overwrite: true })
  t.deepEqual(readdirSync(several.path), ['big'])
  t.deepEqual(readdirSync(made.outside).toSorted(), ['docs', 'several'])
  t.false(existsSync(join(made.root, '.holdfast')))
})

test('an increment holds what changed, a consolidated one everything, and a chain whose base is gone begins anew', async (t) => {
  const made = await pointOrders(t)
  fill(made.root)
  // A clone cannot vouch for what was written within the last two seconds: the next increment reads it again.
  await delay(SETTLED_MS)
  const full = made.create()
  const first = await made.run(full)
  t.like(first, {
    full: true,
    synthetic: false,
    fullReason: null,
    problemCount: 0,
    consistency: 'fuzzy',
    encrypted: false,
  })
  change(made.root, 1)
  const increment = made.create([refOf(full)])
  const second = await made.run(increment)
  t.like(second, { full: false, fullReason: null })
  t.true(second.sourceBytes < 100, String(second.sourceBytes))
  change(made.root, 2)
  const merged = made.create([refOf(full), refOf(increment)], { consolidate: true })
  t.like(await made.run(merged), { full: true, synthetic: true, fullReason: null })
  await restoredAs(t, made, [refOf(merged)], seen(made.root))
  rmSync(join(made.backups, full.name), { recursive: true })
  change(made.root, 3)
  const anew = made.create([refOf(full), refOf(increment)])
  t.like(await made.run(anew), { full: true, fullReason: `point ${full.name} is missing from the target` })
  rmSync(join(made.backups, anew.name, 'frames.ndjson.zst'))
  const again = made.create([refOf(anew)])
  t.like(await made.run(again), { full: true, fullReason: `point ${anew.name} is missing from the target` })
  await restoredAs(t, made, [refOf(again)], seen(made.root))
  const { points } = JSON.parse(readFileSync(join(made.backups, 'backup-metadata'), 'utf8'))
  t.deepEqual(
    points.map((point: { name: string; chain?: string[] }) => [point.name, point.chain]),
    [
      [increment.name, [full.name]],
      [merged.name, []],
      [anew.name, []],
      [again.name, []],
    ],
  )
})

test('btrfs: of a large file that changed a point holds what changed, is rehearsed and merged, and goes with its damage told', async (t) => {
  const made = await orders(t, 'btrfs')
  if (made === undefined) return t.pass()
  const [large, other] = [join(made.root, 'large'), join(made.root, 'other')]
  writeFileSync(large, randomBytes(12_000_000), { mode: 0o640 })
  writeFileSync(other, randomBytes(5_000_000))
  const refs: PointRef[] = []
  const next = async (changed = {}) => {
    const spec = made.create(refs, changed)
    const result = await made.run(spec)
    if (result.full) refs.length = 0
    refs.push(refOf(spec))
    return result
  }
  await next()
  writeAt(large, 7_000_000, 'changed')
  const second = await next()
  t.true(!second.full && second.sourceBytes < 100_000 && second.storedBytes < 100_000, JSON.stringify(second))
  writeAt(large, 11_999_990, 'beyond its end, which moves')
  writeAt(other, 1, 'x')
  t.true((await next()).sourceBytes < 100_000)
  await restoredAs(t, made, refs, seen(made.root))
  const rehearsed = await made.run({ kind: 'point.rehearse', ...readable(made, refs), pool: 'a' } as const)
  t.true(rehearsed.bytes > 17_000_000)
  const file = { kind: 'host', path: join(made.outside, 'large') } as const
  await made.run(restoreTo(made, refs, file, ['large']))
  t.true(readFileSync(file.path).equals(readFileSync(large)))
  // A snapshot that is gone: all of the file is in the next point.
  const chain = [...refs]
  const [kept] = made.tools.points.own.all()
  if (kept === undefined) return t.fail()
  await made.driver.destroy(kept.dataset, { signal: AbortSignal.timeout(10_000), progress: () => undefined })
  writeAt(large, 20, 'more')
  t.true((await next()).sourceBytes > 12_000_000)
  writeAt(large, 30, 'and more')
  const merged = await next({ consolidate: true })
  t.true(merged.full && merged.synthetic)
  await restoredAs(t, made, refs, seen(made.root))
  // Bytes that rotted in a patch are told of by the name of its file.
  const data = join(made.backups, chain[1]?.name ?? '', 'data.tar.zst')
  const bytes = readFileSync(data)
  bytes[bytes.length - 200] = (bytes[bytes.length - 200] ?? 0) ^ 1
  writeFileSync(data, bytes)
  const rotten = await failureOf(t, made.run({ kind: 'point.verify', ...readable(made, chain) } as const))
  t.true(rotten.members?.includes('large'), String(rotten.members))
})

function writeAt(path: string, at: number, text: string): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, text, at)
  closeSync(fd)
}

async function restoredAs(
  t: ExecutionContext,
  made: PointOrders,
  refs: readonly PointRef[],
  expected: string,
): Promise<void> {
  const dataset = randomUUID()
  await made.run(restoreTo(made, refs, { kind: 'new', place: { pool: 'a', dataset } }))
  t.is(seen(join(made.pool, dataset)), expected)
}

test('verify names the file whose bytes rotted, and what is missing; a target that is away is no damage', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  const order = { kind: 'point.verify', ...readable(made, refs) } as const
  t.true((await made.run(order)).bytes > 9_000_000)
  const data = join(made.backups, refs[0]?.name ?? '', 'data.tar.zst')
  const bytes = readFileSync(data)
  bytes[bytes.length - 200] = (bytes[bytes.length - 200] ?? 0) ^ 1
  writeFileSync(data, bytes)
  const rotten = await failureOf(t, made.run(order))
  t.is(rotten.code, 'corrupt', rotten.message)
  t.deepEqual(rotten.members?.includes('link'), true, String(rotten.members))
  rmSync(join(made.backups, refs[1]?.name ?? '', 'restore.sh'))
  const missing = await failureOf(t, made.run(order))
  t.true(missing.members?.includes(`${refs[1]?.name}/restore.sh`), String(missing.members))
  rmSync(join(made.backups, refs[1]?.name ?? ''), { recursive: true })
  t.true((await failureOf(t, made.run(order))).members?.includes(`${refs[1]?.name}/sums`))
})

test('verify finds what restore.sh would refuse although every member is as it was', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  const order = { kind: 'point.verify', ...readable(made, refs) } as const
  const name = `${refs[0]?.name}/data.tar.zst`
  const data = join(made.backups, name)
  const { size } = statSync(data)
  appendFileSync(data, 'more')
  t.deepEqual((await failureOf(t, made.run(order))).members, [name])
  truncateSync(data, size)
  await made.run(order)
})

test('verify reads what of an archive lies behind its last member', async (t) => {
  const made = await pointOrders(t)
  // With the headers before it, all of the first frame.
  const filled = (bytes: number) => writeFileSync(join(made.root, 'file'), Buffer.alloc(bytes, 'x'))
  filled(2 ** 20)
  const first = made.create([], { compression: 'none' })
  await made.run(first)
  const data = (spec: typeof first) => join(made.backups, spec.name, 'data.tar')
  filled(2 ** 22 - (statSync(data(first)).size - 2 * 512 - 2 ** 20))
  const spec = made.create([], { compression: 'none' })
  await made.run(spec)
  t.is(statSync(data(spec)).size, 2 ** 22 + 2 * 512)
  writeAt(data(spec), 2 ** 22 + 1, 'rot')
  const order = { kind: 'point.verify', ...readable(made, [refOf(spec)]) } as const
  t.deepEqual((await failureOf(t, made.run(order))).members, [`${spec.name}/data.tar`])
})

test('a rehearsal measures a restore and leaves nothing', async (t) => {
  const { made, refs } = await threeToRead()
  const before = readdirSync(made.pool).toSorted()
  const order = { kind: 'point.rehearse', ...readable(made, refs), pool: 'a' } as const
  const { files, bytes, seconds } = await made.run(order)
  t.true(files >= 6 && bytes > 9_000_000 && seconds > 0, JSON.stringify({ files, bytes, seconds }))
  t.deepEqual(readdirSync(made.pool).toSorted(), before)
  t.deepEqual(made.tools.points.own.all(), [])
})

test('a point that is deleted is gone, and what is beside it stays', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  const last = refs.at(-1)
  if (last === undefined) return t.fail()
  const order = {
    kind: 'point.delete',
    target: made.target,
    series: SERIES,
    pointId: last.id,
    name: last.name,
  } as const
  await made.run(order)
  await made.run(order)
  t.deepEqual(
    readdirSync(made.backups).toSorted(),
    ['backup-metadata', 'image.tar', refs[0]?.name, refs[1]?.name].toSorted(),
  )
  t.is(JSON.parse(readFileSync(join(made.backups, 'backup-metadata'), 'utf8')).points.length, 2)
})

test("others' points of the same name stay when one that failed for them is deleted, and so does what others are writing", async (t) => {
  const made = await pointOrders(t)
  fill(made.root)
  const theirs = made.create()
  await made.run(theirs)
  const { name, target } = theirs
  const ours = { ...made.create(), name }
  t.is((await failureOf(t, made.run(ours))).code, 'exists')
  const order = { kind: 'point.delete', target, series: SERIES, pointId: ours.pointId, name } as const
  const metadata = join(made.backups, 'backup-metadata')
  const before = readFileSync(metadata, 'utf8')
  for (const failed of [true, false]) await made.run({ ...order, failed })
  t.is(readFileSync(metadata, 'utf8'), before)
  rmSync(metadata) // then nothing tells whose it is
  await made.run({ ...order, failed: true })
  await restoredAs(t, made, [refOf(theirs)], seen(made.root))
  const writing = ['20200101T000000Z.0123456789ab.partial', '20200101T000000Z.0123456789ab.increment.partial']
  const ended = '20200101T000001Z.own.partial'
  for (const folder of [...writing, ended]) mkdirSync(join(made.backups, folder))
  const next = made.create()
  await made.run(next)
  t.deepEqual(
    readdirSync(made.backups).toSorted(),
    [...writing, name, next.name, 'backup-metadata', 'image.tar'].toSorted(),
  )
})

test('a point whose files cannot be taken away is gone all the same, and the next order takes them', async (t) => {
  const made = await pointOrders(t)
  fill(made.root)
  const spec = made.create()
  await made.run(spec)
  const { name, pointId } = spec
  const cancelled = new AbortController()
  const work = await openWork(
    { kind: 'point.delete', target: spec.target, series: SERIES, pointId, name },
    randomUUID(),
    made.tools,
  )
  const [, hide, remove] = work.steps
  const context = {
    ...{ jobId: randomUUID(), signal: cancelled.signal, progress: () => undefined, release: () => undefined },
    memory: { staged: () => undefined, stage: async () => undefined },
  }
  await hide?.run(context)
  cancelled.abort()
  t.false(existsSync(join(made.backups, name)))
  const hidden = readdirSync(made.backups).filter((entry) => entry.endsWith('.partial'))
  t.is(hidden.length, 1)
  mkdirSync(join(made.backups, hidden[0] ?? '', ...Array.from({ length: 70 }, () => 'deep')), { recursive: true })
  await t.notThrowsAsync(async () => remove?.run(context))
  rmSync(join(made.backups, hidden[0] ?? '', 'deep'), { recursive: true })
  await work.close?.()
  const next = made.create()
  await made.run(next)
  t.deepEqual(readdirSync(made.backups).toSorted(), [next.name, 'backup-metadata', 'image.tar'].toSorted())
})

test('directories of the host are backed up below what is allowed, and nowhere else', async (t) => {
  const made = await pointOrders(t)
  const source = join(made.outside, 'site')
  fill(source)
  const from = (path: string) => made.create([], { source: { kind: 'path', path } })
  const spec = from(source)
  t.like(await made.run(spec), { full: true, consistency: 'fuzzy' })
  await restoredAs(t, made, [refOf(spec)], seen(source))
  symlinkSync('/etc', join(made.outside, 'etc'))
  for (const path of ['/etc', `${made.outside}/../..`, join(made.outside, 'etc'), '/'])
    t.is((await failureOf(t, made.run(from(path)))).code, 'refused', path)
  t.is((await failureOf(t, made.run(from(join(made.outside, 'absent'))))).code, 'not_found')
})

/** Holds a page of a file and writes to it when it is told to; the first write is done when this resolves. */
async function mappedWriter(t: ExecutionContext, path: string) {
  const script = `import mmap,sys
f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),4096)
for line in sys.stdin: m[0:1]=line.strip().encode(); print('ok',flush=True)`
  const child = spawn('python3', ['-c', script, path], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => child.kill())
  return async (letter: string) => {
    child.stdin.write(`${letter}\n`)
    await once(child.stdout, 'data')
  }
}

testUnless(lacksTool('python3'))(
  'a file of a living directory that changes through a mapping is in the next increment',
  async (t) => {
    const made = await pointOrders(t)
    const source = join(made.outside, 'site')
    mkdirSync(source)
    writeFileSync(join(source, 'mapped'), Buffer.alloc(4_096, '.'))
    const write = await mappedWriter(t, join(source, 'mapped'))
    const living = { source: { kind: 'path', path: source } } as const
    await write('A')
    writeFileSync(join(source, 'fresh'), Buffer.alloc(4_096, 'f'))
    const full = made.create([], living)
    await made.run(full)
    await write('B')
    const increment = made.create([refOf(full)], living)
    // `fresh` too: it might have changed within the tick of the clock in which it was read.
    t.like(await made.run(increment), { full: false, sourceBytes: 8_192 })
    const destination = { kind: 'host', path: join(made.outside, 'back') } as const
    await made.run(restoreTo(made, [refOf(full), refOf(increment)], destination))
    t.is(readFileSync(join(destination.path, 'mapped'), 'latin1').slice(0, 2), 'B.')
  },
)

const cleanUps: (() => unknown)[] = []
ava.after.always(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp()
})
let threeMade: ReturnType<typeof makeThree> | undefined
async function makeThree() {
  const made = await pointOrders({ teardown: (act) => cleanUps.push(act) })
  return { made, refs: (await threePoints(made)).refs }
}
/** Three points that are only read: of all tests, which run one after another. */
const threeToRead = () => (threeMade ??= makeThree())

for (const kind of ['point.create', 'point.create of an increment', 'point.create by merging'] as const) {
  pipelineContract(test, {
    kind: 'point.create',
    title: kind,
    async prepare(t) {
      const made = await pointOrders(t)
      fill(made.root)
      const full = made.create()
      if (kind !== 'point.create') await made.run(full)
      change(made.root, 1)
      const bases = kind === 'point.create' ? [] : [refOf(full)]
      const spec = made.create(bases, { consolidate: kind === 'point.create by merging' })
      const observe = () => [standingIn(made), readdirSync(join(made.tools.points.scratch, '..', 'own-datasets'))]
      return { open: (jobId) => openWork(spec, jobId, made.tools), observe }
    },
  })
}

pipelineContract(test, {
  kind: 'point.restore',
  async prepare() {
    const { made, refs } = await threeToRead()
    const place = { pool: 'a', dataset: randomUUID() }
    const spec = restoreTo(made, refs, { kind: 'new', place })
    return { open: (jobId) => openWork(spec, jobId, made.tools), observe: () => standingIn(made) }
  },
})

pipelineContract(test, {
  kind: 'point.restore',
  title: 'point.restore of one file',
  async prepare() {
    const { made, refs } = await threeToRead()
    const spec = restoreTo(made, refs, { kind: 'host', path: join(made.outside, randomUUID()) }, ['docs/a.txt'])
    return { open: (jobId) => openWork(spec, jobId, made.tools), observe: () => standingIn(made) }
  },
})

pipelineContract(test, {
  kind: 'point.rehearse',
  async prepare() {
    const { made, refs } = await threeToRead()
    const spec = { kind: 'point.rehearse', ...readable(made, refs), pool: 'a' } as const
    return { open: (jobId) => openWork(spec, jobId, made.tools), observe: () => standingIn(made) }
  },
})

pipelineContract(test, {
  kind: 'point.delete',
  async prepare(t) {
    const made = await pointOrders(t)
    const { refs } = await threePoints(made)
    const { id: pointId = '', name = '' } = refs[2] ?? {}
    const spec = { kind: 'point.delete', target: made.target, series: SERIES, pointId, name } as const
    return { open: (jobId) => openWork(spec, jobId, made.tools), observe: () => standingIn(made) }
  },
})

function standingIn(made: PointOrders): readonly string[] {
  const folders = [made.pool, made.outside, ...(existsSync(made.backups) ? [made.backups] : [])]
  return folders.flatMap((folder) => readdirSync(folder).toSorted())
}
