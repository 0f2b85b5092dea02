import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import ava, { type ExecutionContext } from 'ava'
import { openDriver } from '../agent/drivers/registry.ts'
import type { PipelineTools } from '../agent/pipelines/pipeline.ts'
import { openWork } from '../agent/pipelines/pipelines.ts'
import { runPipeline } from '../agent/pipelines/run-pipeline.ts'
import { openPoints, type Points } from '../agent/points/open-points.ts'
import type { PointRef } from '../shared/point-spec.ts'
import { contextOf, memoryOf } from './contracts/pipeline-contract.ts'
import { canArchive, describeTree, differences, differencesByScript, extractTo } from './harness/archive.ts'
import { mountLoop, type sharedMounts } from './harness/loop-mount.ts'
import { pointOrders, readable, refOf, SERIES, SETTLED_MS } from './harness/point-orders.ts'
import { runRestore } from './harness/restore-run.ts'
import { THOROUGHNESS } from './harness/thoroughness.ts'

/** One after another: each has a file system of half a gigabyte in memory. */
const test = ava.serial
const MIB = 2 ** 20
const TOOLS = ['tar', 'zstd', 'sha256sum', 'chmod', 'cp', 'dd', 'rm', 'stat', 'touch']

type Mounted = Parameters<ReturnType<typeof sharedMounts>>[0]

async function open(t: ExecutionContext, on: Mounted = 'xfs') {
  const made = await pointOrders(t, { driver: 'reflink', on: mountLoop(t, on, 768 * MIB) })
  const refs: PointRef[] = []
  const chains: PointRef[][] = []
  const trees: string[] = []
  const state = { points: made.points as Points, tools: made.tools, taken: 0, beside: (): void => undefined }
  const snapshot = (...[request, watch]: Parameters<typeof made.driver.snapshot>) => {
    state.taken += 1
    state.beside()
    return made.driver.snapshot(request, watch)
  }
  const sh = (script: string) =>
    execFileSync('/bin/bash', ['-ec', script], { cwd: made.root, stdio: 'pipe' }).toString()
  const tools = (): PipelineTools => ({
    ...state.tools,
    driver: (pool) => Object.assign(Object.create(state.tools.driver(pool)), { snapshot }),
  })
  return {
    ...{ made, refs, chains, trees, state, sh, tools },
    kept: () => state.tools.points.own.all().map(({ dataset, use }) => [dataset, use.kind]),
    /** Numbers of what is kept behind the last point. */
    clones() {
      const folder = join(made.pool, refs.at(-1)?.id ?? '', 'files')
      return existsSync(folder) ? readdirSync(folder).map(Number).toSorted() : []
    },
    async point(changed: Parameters<typeof made.create>[1] = {}) {
      const spec = made.create(changed.bases ?? refs, changed)
      const result = await made.run(spec, { tools: tools() })
      await state.points.idle()
      if (result.full) refs.length = 0
      refs.push(refOf(spec))
      chains.push([...refs])
      trees.push(describe(made.root))
      return result
    },
    async restart() {
      const directory = made.points.state
      const config = { state: directory, backupRoot: join(directory, 'backups'), sourcePaths: [], poolPaths: [] }
      const again = openPoints({ ...config, allowLoopback: true }, undefined)
      t.teardown(() => again[Symbol.asyncDispose]())
      const reopened = await openDriver({ name: 'a', path: join(made.pool, '..'), driver: 'reflink' })
      await again.sweep(new Map([['a', reopened]]), () => false)
      state.points = again
      state.tools = { ...state.tools, points: again.tools }
      return again
    },
  }
}
/** Without how many names directories have: on btrfs it is always one. */
function describe(directory: string): string {
  return describeTree(directory).replaceAll(/^(d \d+ \d+ \d+) \d+ /gm, '$1 ')
}

type Backups = Awaited<ReturnType<typeof open>>

/** @returns in what points that were restored, by our reader and each third and the last by plain tar, differ from the trees they were made of */
async function wrong({ made, chains, trees }: Backups, points = [...chains.keys()]): Promise<readonly string[]> {
  const found: string[] = []
  const byTar = THOROUGHNESS > 1 ? points : points.filter((at, n) => n % 3 === 2 || at === points.at(-1))
  for (const at of points) {
    const names = (chains[at] ?? []).map(({ name }) => name)
    if (!names.every((name) => existsSync(join(made.backups, name)))) continue
    const into = join(made.outside, 'back')
    await extractTo(into, { points: made.backups, names })
    found.push(...differences(describe(into), trees[at] ?? '').map((line) => `${at}: ${line}`))
    rmSync(into, { recursive: true })
    if (!byTar.includes(at)) continue
    execFileSync('/bin/mkdir', [into])
    const run = runRestore({
      point: join(made.backups, names.at(-1) ?? ''),
      into,
      bin: join(made.outside, 'bin'),
      tools: TOOLS,
    })
    if (run.status !== 0 || run.complaint !== '') found.push(`${at} by tar: ${run.complaint}`)
    found.push(...differencesByScript(describe(into), trees[at] ?? '').map((line) => `${at} by tar: ${line}`))
    rmSync(into, { recursive: true })
  }
  return found
}

function inode({ made }: Backups, name: string): number {
  return statSync(join(made.root, name)).ino
}

const written = (file: string, at: number) => `printf changed | dd of=${file} bs=1 seek=${at} conv=notrunc status=none`

for (const on of THOROUGHNESS > 1 ? (['xfs', 'btrfs'] as const) : (['xfs'] as const))
  test(`reflinks on ${on}: of a large file a point holds what changed, and clones of large files are all that is kept`, async (t) => {
    if (!canArchive(t)) return t.pass()
    const backups = await open(t, on)
    const { made, sh, point, kept, clones, refs, state } = backups
    sh(`mkdir d; head -c 12M /dev/urandom > a; head -c 9M /dev/urandom > "d/od'd
\xfcber"; head -c 5M /dev/urandom > b
      head -c 3M /dev/urandom > small; head -c 6M /dev/urandom > two; ln two names; cp -a "d/od'd
\xfcber" d/other`)
    await pause(SETTLED_MS)
    await point()
    t.deepEqual(kept(), [[refs[0]?.id, 'base']])
    t.deepEqual(clones(), ['a', "d/od'd\n\xfcber", 'b', 'd/other'].map((name) => inode(backups, name)).toSorted())
    const folder = join(made.pool, refs[0]?.id ?? '', 'files')
    t.deepEqual(
      [statSync(folder).mode & 0o777, statSync(join(folder, String(inode(backups, 'a')))).mode & 0o777],
      [0o700, 0o600],
    )
    await pause(SETTLED_MS)

    sh(`${written('a', 5_345_678)}; ${written('b', 4 * MIB)}`)
    const first = await point()
    t.true(!first.full && first.sourceBytes < 200_000 && first.storedBytes < 200_000, JSON.stringify(first))
    t.is(clones().length, 4)
    t.like(await point(), { full: false })
    await pause(SETTLED_MS)
    await point()
    state.taken = 0
    t.like(await point(), { members: 0 })
    t.is(state.taken, 0, 'what is kept goes on to a point without an image')
    t.deepEqual(kept(), [[refs.at(-1)?.id, 'base']])
    t.is(clones().length, 4)

    // Longer, shorter, a hole, metadata alone; a link more, which is stored whole and kept no longer.
    sh(`head -c 1M /dev/urandom >> a; fallocate --punch-hole --offset 1M --length 1M "d/od'd
\xfcber"; chmod 600 d/other; ln b d/link`)
    const second = await point()
    t.true(second.sourceBytes > 5 * MIB && second.sourceBytes < 8 * MIB, JSON.stringify(second))
    t.deepEqual(clones(), ['a', "d/od'd\n\xfcber", 'd/other'].map((name) => inode(backups, name)).toSorted())
    sh(`rm d/link; truncate -s 7000001 a; ${written('d/other', 1)}`)
    t.true((await point()).sourceBytes < 6 * MIB)
    // Moved: stored whole once. Short: not kept.
    sh('mv a d/moved; truncate -s 3M b')
    await point()
    t.deepEqual(clones().length, 3)
    sh(`${written('d/moved', 77)}; truncate -s 6M b; ${written('b', 5 * MIB)}`)
    t.true((await point()).sourceBytes < 7 * MIB)
    sh(written('b', 123))
    t.true((await point()).sourceBytes < 200_000)
    t.deepEqual(await wrong(backups), [])
    const rehearsed = await made.run({ kind: 'point.rehearse', ...readable(made, refs), pool: 'a' } as const)
    t.true(rehearsed.bytes > 20 * MIB)

    // Merged: the next point still knows what is in it.
    const merged = await point({ consolidate: true })
    t.true(merged.full && merged.synthetic)
    sh(`${written('b', 321)}; ${written('d/moved', 321)}`)
    t.true((await point()).sourceBytes < 200_000)
    t.deepEqual(await wrong(backups, [backups.chains.length - 2, backups.chains.length - 1]), [])

    // With the point that it is of, and with the dataset.
    const last = refs.pop()
    if (last === undefined) return t.fail()
    await made.run({ kind: 'point.delete', target: made.target, series: SERIES, pointId: last.id, name: last.name })
    t.deepEqual(kept(), [])
    sh(written('b', 3_333))
    t.true((await point()).sourceBytes > 5 * MIB, 'what it would be compared with is gone')
    t.is(kept().length, 1)
    sh('rm -r d b names two')
    await point()
    t.deepEqual(kept(), [], 'nothing large lives')
    sh('head -c 8M /dev/urandom > a')
    await point()
    t.is(kept().length, 1)
    await made.run({ kind: 'dataset.delete', target: { pool: 'a', dataset: made.dataset } })
    t.deepEqual(kept(), [])
    t.deepEqual(readdirSync(made.pool), [])
  })

test('what a restart finds is used; what was not complete, or was written to, is not', async (t) => {
  if (!canArchive(t)) return t.pass()
  const backups = await open(t)
  const { made, sh, point, kept, clones, refs, restart, tools, trees, chains } = backups
  sh('head -c 8M /dev/urandom > a; head -c 8M /dev/urandom > b')
  await point()
  await restart()
  sh(written('a', 1))
  t.true((await point()).sourceBytes < 200_000)
  // An order that is repeated behind its commit has read nothing: its point has no clones, and the older ones are gone.
  const spec = made.create(refs)
  const memory = memoryOf()
  const jobId = crypto.randomUUID()
  const work = await openWork(spec, jobId, tools())
  const cut = { ...work, steps: work.steps.filter(({ name }) => name !== 'settle') }
  sh(written('b', 2))
  await runPipeline(cut, contextOf(jobId, memory))
  const again = await restart()
  await runPipeline(await openWork(spec, jobId, tools()), contextOf(jobId, memory))
  await again.idle()
  refs.push(refOf(spec))
  chains.push([...refs])
  trees.push(describe(made.root))
  t.deepEqual(kept(), [])
  t.deepEqual(readdirSync(made.pool), [made.dataset])
  sh(written('b', 3))
  t.true((await point()).sourceBytes > 8 * MIB - 1)
  t.true(clones().includes(inode(backups, 'b')))

  // Whoever may write there: it is no clone any more.
  sh(written('b', 4))
  const clone = join(made.pool, refs.at(-1)?.id ?? '', 'files', String(inode(backups, 'b')))
  utimesSync(clone, 1, 1)
  t.true((await point()).sourceBytes > 8 * MIB - 1)
  // One that says that it is something else, though nobody touched it since.
  sh(written('b', 4))
  const last = refs.at(-1)?.id ?? ''
  sh(`setfattr -n trusted.holdfast.held -v "1 2 3 b" "${join(made.pool, last, 'files', String(inode(backups, 'b')))}"`)
  const claim = join(made.points.state, 'own-datasets', `${last}.json`)
  const own = JSON.parse(readFileSync(claim, 'utf8'))
  writeFileSync(claim, JSON.stringify({ ...own, use: { ...own.use, at: Date.now() + 60_000 } }))
  await restart()
  t.true((await point()).sourceBytes > 8 * MIB - 1)
  sh(`${written('b', 5)}; rm -rf "${join(made.pool, refs.at(-1)?.id ?? '', 'files')}"`)
  t.true((await point()).sourceBytes > 8 * MIB - 1)
  t.deepEqual(await wrong(backups), [])
})

/** What somebody does between two points: by the shell, in a dataset with the files a to f. */
const ACTS = [
  'head -c $((RANDOM * 3)) /dev/urandom | dd of=$f bs=64K oflag=seek_bytes seek=$((RANDOM * 400)) conv=notrunc status=none',
  'head -c $((RANDOM * 3)) /dev/urandom | dd of=$f bs=64K oflag=seek_bytes seek=$((RANDOM * 400)) conv=notrunc status=none',
  'cp --reflink=always $f o-$f',
  'if [ -f o-$f ]; then xfs_io -c "reflink o-$f 0 0 0" $f; fi',
  'fallocate --punch-hole --offset $((RANDOM * 200)) --length $((RANDOM * 9)) $f',
  'truncate -s $((4194304 - 50000 + RANDOM * 200)) $f',
  'truncate -s 1000 $f',
  'touch $f',
  'chmod 6$((RANDOM % 8))4 $f',
  'rm $f; head -c 5M /dev/urandom > $f',
  'rm $f; cp --reflink=always $g $f',
  'rm $f; head -c 7M /dev/urandom > $g.new; mv $g.new $g; touch $f',
  'mv $f tmp; mv $g $f; mv tmp $g',
  'mv $f $g; head -c 6M /dev/urandom > $f',
  'ln -f $f l-$f',
  'rm -f l-$f',
  'cp --reflink=always $f new; mv new $f',
  'rm -rf d; mkdir d; head -c 4500000 /dev/urandom > d/$f',
  'if [ -d d ]; then mv d e$RANDOM; fi',
  'if [ -d d ]; then for n in d/*; do printf x | dd of=$n bs=1 seek=$RANDOM conv=notrunc status=none; done; fi',
  'echo small > s-$f',
]

test('whatever is done to large files, while points are made too, every point is its dataset', async (t) => {
  if (!canArchive(t)) return t.pass()
  let patches = 0
  for (let run = 0; run < THOROUGHNESS; run += 1) {
    const seed = Math.floor(Math.random() * 30_000)
    const backups = await open(t)
    const { made, sh, point, kept, refs, restart, state, trees } = backups
    let random = seed
    const next = (below: number) => {
      random = (random * 1_103_515_245 + 12_345) % 2 ** 31
      return Math.floor((random / 2 ** 31) * below)
    }
    const files = ['a', 'b', 'c', 'f']
    const act = () => {
      const [f, g] = [files[next(4)] ?? 'a', files[next(4)] ?? 'a']
      return f === g ? `f=${f}; ${ACTS[next(9)]}` : `f=${f}; g=${g}; ${ACTS[next(ACTS.length)]}`
    }
    const acts = (count: number) => sh(`RANDOM=${next(30_000)}\n${Array.from({ length: count }, act).join('\n')}`)
    sh('for f in a b c f; do head -c 6M /dev/urandom > $f; done')
    for (let round = 0; round < 9; round += 1) {
      if (round > 0) acts(1 + next(4))
      if (next(3) === 0) await pause(SETTLED_MS)
      // What happens between the listing and the clones is in this point or in the next.
      const isDisturbed = round > 0 && next(3) === 0
      state.beside = () => {
        state.beside = () => undefined
        if (isDisturbed) acts(2)
      }
      const how = next(12)
      const consolidates = how === 0 && refs.length > 1
      await point(how === 1 ? { bases: [] } : { consolidate: consolidates })
      if (isDisturbed) trees[trees.length - 1] = ''
      if (next(5) === 0) await restart()
      const owned = kept()
      t.true(
        owned.length <= 1 && owned.every(([id, use]) => use === 'base' && id === refs.at(-1)?.id),
        JSON.stringify(owned),
      )
      t.is(readdirSync(made.pool).length, 1 + owned.length)
      const name = refs.at(-1)?.name ?? ''
      if (existsSync(join(made.backups, name, 'patches.tar.zst'))) patches += 1
    }
    const told = backups.chains.flatMap((_, at) => (trees[at] === '' ? [] : [at]))
    t.deepEqual(await wrong(backups, told), [], `seed ${seed}`)
  }
  t.log(`${patches} points with patches`)
  t.true(patches > 0)
})

test('what lies again where it lay two points ago is compared with the last one', async (t) => {
  if (!canArchive(t)) return t.pass()
  const backups = await open(t)
  const { sh, point } = backups
  sh('head -c 8M /dev/urandom > a; head -c 8M /dev/urandom > b')
  await point()
  const back = 'for f in a b; do xfs_io -c "reflink old-$f 0 0 0" $f; done'
  sh(`for f in a b; do cp --reflink=always $f old-$f; done; ${written('a', 5_000)}; ${written('b', 6_000_000)}`)
  await point()
  sh(back)
  t.true((await point()).sourceBytes < 200_000)
  await pause(SETTLED_MS)
  sh(written('a', 70_000))
  t.true((await point()).sourceBytes < 200_000)
  sh(back)
  await point()
  t.deepEqual(await wrong(backups), [])
})

/** Of which nothing works any more after so many calls. */
function dying<Tools extends object>(tools: Tools, left: { calls: number }): Tools {
  return new Proxy(tools, {
    get(target, name) {
      const found: unknown = Reflect.get(target, name)
      if (typeof found !== 'function') return found
      return (...given: unknown[]) => {
        left.calls -= 1
        if (left.calls < 0) throw new Error('dead')
        return found.apply(target, given)
      }
    },
  })
}

test('whichever of its calls fails while it keeps clones, nothing is left behind a restart but clones of the last point, or none', async (t) => {
  if (!canArchive(t)) return t.pass()
  const backups = await open(t)
  const { made, sh, point, kept, refs, restart, state } = backups
  sh('head -c 5M /dev/urandom > a; head -c 5M /dev/urandom > b')
  await pause(SETTLED_MS)
  let [wasKept, isDone] = [0, false]
  for (let calls = 0; calls < 30 && !isDone; calls += 1) {
    // Every third time there is no image.
    if (calls % 3 === 2) await pause(SETTLED_MS)
    else sh(written(calls % 2 === 0 ? 'a' : 'b', 1_000 + calls))
    const { tools, points } = state
    const left = { calls: Number.POSITIVE_INFINITY }
    state.tools = {
      ...tools,
      driver: () => dying(tools.driver('a'), left),
      points: {
        ...tools.points,
        own: dying(tools.points.own, left),
        later: (work, pointId) =>
          tools.points.later(() => {
            // What follows of the same job has what is left.
            if (pointId !== undefined) left.calls = calls
            return work()
          }, pointId),
      },
    }
    await point()
    await points.idle()
    isDone = left.calls > 0 && calls % 3 < 2 && left.calls !== Number.POSITIVE_INFINITY
    state.tools = tools
    await restart()
    const owned = kept()
    t.true(owned.every(([, use]) => use === 'base') && owned.length <= 1, JSON.stringify(owned))
    t.is(readdirSync(made.pool).length, 1 + owned.length)
    if (owned[0]?.[0] === refs.at(-1)?.id) wasKept += 1
    // So that the next has something to take over.
    if (owned[0]?.[0] !== refs.at(-1)?.id) {
      sh(`${written('a', 7)}; ${written('b', 7)}`)
      await point()
    }
  }
  t.true(isDone && wasKept > 0, String(wasKept))
  t.deepEqual(await wrong(backups, [backups.chains.length - 1]), [])
})

test('a tree that has what patches are named by gets none, though its image does not show that', async (t) => {
  if (!canArchive(t)) return t.pass()
  const backups = await open(t)
  const { sh, point } = backups
  sh('head -c 8M /dev/urandom > a; mkdir -p d .holdfast-patches; echo mine > .holdfast-patches/1; cp a d/b')
  await pause(SETTLED_MS)
  await point()
  sh(`${written('a', 1)}; ${written('d/b', 1)}`)
  t.true((await point()).sourceBytes > 16 * MIB - 1)
  sh(`rm -r .holdfast-patches; ${written('a', 1)}`)
  t.true((await point()).sourceBytes < 200_000)
  t.deepEqual(await wrong(backups), [])
})
