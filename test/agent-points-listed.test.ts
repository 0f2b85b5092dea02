import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { PipelineTools } from '../agent/pipelines/pipeline.ts'
import type { PointRef } from '../shared/point-spec.ts'
import {
  canArchive,
  describeTree,
  differences,
  differencesByScript,
  extractTo,
  runRestoreScript,
} from './harness/archive.ts'
import { mountLoop } from './harness/loop-mount.ts'
import { mutateTree } from './harness/mutate-tree.ts'
import { failureOf, fill, pointOrders, refOf, SETTLED_MS } from './harness/point-orders.ts'

const KINDS = ['reflinks on XFS', 'copies on ext4', 'a directory on ext4'] as const
/** Where what changed is little it is read where it lives, unless others are at work, or it was just written to. */
const WAYS = [
  ['reflinks on XFS', 'images'],
  ['reflinks on XFS', 'where it lives'],
  ['copies on ext4', 'images'],
  ['copies on ext4', 'where it lives'],
  ['a directory on ext4', 'where it lives'],
] as const

/** Changes that look like none, or like others: by Python and the shell, in `own/`. */
const SLY = String.raw`
import ctypes, mmap, os, sys
os.chdir(sys.argv[1]); n = sys.argv[2]
if not os.path.exists('own'):
    os.mkdir('own'); os.mkdir('own/kind-d')
    for f in ['size', 'back', 'mode', 'left', 'right', 'several', 'attr', 'mapped', 'equal', 'kind', 'new\nline', 'gone']: open('own/' + f, 'w').write(f * 2000)
    for i in range(20): open('own/beside%d' % i, 'w').write('same')
    sys.exit()
os.chdir('own')
with open('size', 'r+') as f: f.write(n * 10)
s = os.stat('back'); open('back', 'w').write(n * 12); os.utime('back', ns=(s.st_atime_ns, s.st_mtime_ns))
os.chmod('mode', 0o600 + int(n)); os.chmod('..', 0o750 + int(n))
ctypes.CDLL(None).renameat2(-100, b'left', -100, b'right', 2)
if int(n) % 2: os.link('several', 'also')
else: os.unlink('also')
os.setxattr('attr', 'user.n', n.encode())
with open('mapped', 'r+b') as f: m = mmap.mmap(f.fileno(), 0); m[0:1] = n.encode(); m.flush(); m.close()
t = open('equal').read(); open('.equal', 'w').write(t); os.rename('.equal', 'equal')
if int(n) % 2: os.unlink('kind'); os.mkdir('kind'); open('kind/inside', 'w').write(n)
else: os.unlink('kind/inside'); os.rmdir('kind'); open('kind', 'w').write(n)
os.rename('new\nline', 'new\nline' + n); os.rename('new\nline' + n, 'new\nline')
if int(n) == 2: os.unlink('gone')
`

/** What somebody else does just before and behind a snapshot of some of a tree. */
interface Meanwhile {
  /** Before a listing that is made of a pool. */
  opening?: () => void
  /** Behind a listing, before anything is read where it lives. */
  listed?: () => void
  before?: () => void
  behind?: (image: string) => void
}

interface Backups extends Awaited<ReturnType<typeof open>> {}

async function open(t: ExecutionContext, kind: (typeof KINDS)[number], isAlone = true) {
  const mounted = mountLoop(t, kind.endsWith('XFS') ? 'xfs' : 'ext4', 400 * 2 ** 20)
  const isPath = kind.startsWith('a directory')
  const orders = await pointOrders(t, isPath ? {} : { driver: kind.startsWith('r') ? 'reflink' : 'copy', on: mounted })
  const live = isPath ? join(orders.outside, 'live') : orders.root
  if (isPath) {
    mkdirSync(live)
    execFileSync('/bin/mount', ['--bind', mounted, live])
    t.teardown(() => execFileSync('/bin/umount', ['--lazy', live]))
  }
  const taken: (number | 'whole')[] = []
  const meanwhile: Meanwhile = {}
  const driver = {
    ...orders.driver,
    snapshot: async (...[request, watch]: Parameters<typeof orders.driver.snapshot>) => {
      taken.push(request.only?.length ?? 'whole')
      if (request.only !== undefined) meanwhile.before?.()
      const image = await orders.driver.snapshot(request, watch)
      if (request.only !== undefined) meanwhile.behind?.(image.mountpoint)
      return image
    },
  }
  const points = {
    ...orders.tools.points,
    freeTurn() {
      meanwhile.opening?.()
      return isAlone ? orders.tools.points.freeTurn() : undefined
    },
    get scratch() {
      meanwhile.listed?.()
      return orders.tools.points.scratch
    },
  }
  const tools: PipelineTools = { ...orders.tools, points, driver: () => driver }
  const source = isPath ? { source: { kind: 'path', path: live } as const } : {}
  const refs: PointRef[] = []
  const trees: string[] = []
  return {
    ...{ orders, live, taken, meanwhile, refs, trees, isPath, tools, source },
    listings: () => readdirSync(orders.tools.points.listings),
    async point() {
      const spec = orders.create(refs, source)
      const made = await orders.run(spec, { tools })
      refs.push(refOf(spec))
      trees.push(describeTree(live))
      return made
    },
  }
}

/** @returns in what the restored points differ from the trees they were made of, by our reader and by plain tar */
async function wrong({ orders, refs, trees }: Backups): Promise<readonly string[]> {
  const found: string[] = []
  const points = join(orders.backups)
  for (const [at, { name }] of refs.entries()) {
    const into = join(orders.outside, 'back')
    await extractTo(into, { points, names: refs.slice(0, at + 1).map((ref) => ref.name) })
    found.push(...differences(describeTree(into), trees[at] ?? '').map((line) => `${at}: ${line}`))
    rmSync(into, { recursive: true })
    runRestoreScript(join(points, name), into, join(orders.outside, 'bin'))
    found.push(...differencesByScript(describeTree(into), trees[at] ?? '').map((line) => `${at} by tar: ${line}`))
    rmSync(into, { recursive: true })
  }
  return found
}

for (const [number, [kind, way]] of WAYS.entries()) {
  test(`${kind}, read ${way}: whatever changes between two points is found, and what did not is not looked at`, async (t) => {
    if (!canArchive(t)) return t.pass()
    const backups = await open(t, kind, way !== 'images')
    const { live, taken, isPath } = backups
    const sly = (round: number) => execFileSync('/usr/bin/python3', ['-c', SLY, live, String(round)], { stdio: 'pipe' })
    mkdirSync(join(live, 'wild'))
    mutateTree(join(live, 'wild'), number, 120)
    sly(0)
    await pause(SETTLED_MS)
    await backups.point()
    for (let round = 1; round <= 5; round += 1) {
      sly(round)
      mutateTree(join(live, 'wild'), 10 * number + round, round * 5)
      // Not always: what has just changed is looked at again, and what changed before that is not.
      if (round !== 3) await pause(SETTLED_MS)
      t.like(await backups.point(), { full: false, problemCount: 0, consistency: 'fuzzy' })
    }
    t.like(await backups.point(), { full: false, members: 0 })
    t.is(backups.listings().length, 1)
    if (!isPath) {
      t.is(taken[0], 'whole')
      if (way === 'images') t.is(taken.length, 6, 'of what did not change there is no snapshot')
      else t.true(taken.length < 4, 'only of what was just written to')
      t.true(taken.slice(1).every((only) => typeof only === 'number' && only > 0))
    }
    t.deepEqual(await wrong(backups), [])
  })
}

test('what is written to while it is read where it lives is read in an image instead', async (t) => {
  if (!canArchive(t)) return t.pass()
  const backups = await open(t, 'reflinks on XFS')
  const { live, taken, meanwhile } = backups
  fill(live)
  const write = (text: string) => {
    for (let n = 0; n < 40; n += 1) writeFileSync(join(live, 'docs', `f${n}`), `${text} ${n}`)
  }
  write('first')
  await pause(SETTLED_MS)
  await backups.point()
  write('second')
  await pause(300)
  t.like(await backups.point(), { full: false, problemCount: 0 })
  t.deepEqual(taken.splice(0), ['whole'], 'it stood still')

  write('third')
  await pause(300)
  meanwhile.listed = () => writeFileSync(join(live, 'docs', 'f7'), 'written to behind the list')
  t.like(await backups.point(), { full: false, problemCount: 0 })
  t.deepEqual(taken.splice(0), [40])
  delete meanwhile.listed

  meanwhile.opening = () => write('fourth')
  t.like(await backups.point(), { full: false, problemCount: 0 })
  t.deepEqual(taken.splice(0), [40], 'it was written to just before')
  delete meanwhile.opening
  writeFileSync(join(live, 'docs', 'much'), Buffer.alloc(9_000_000, 'much'))
  await pause(300)
  t.like(await backups.point(), { full: false, problemCount: 0 })
  t.is(taken.splice(0).length, 1, 'it is much')
  t.deepEqual(await wrong(backups), [])
})

test('what was rewritten, and is gone or a directory by the time that it is read, is that in the point', async (t) => {
  if (!canArchive(t)) return t.pass()
  const { live, taken, meanwhile, orders, refs, point } = await open(t, 'copies on ext4')
  fill(live)
  const write = (text: string) => {
    for (const name of ['goes', 'deep/grows', 'stays']) writeFileSync(join(live, 'docs', name), text)
  }
  write('first')
  await pause(SETTLED_MS)
  await point()
  write('second')
  await pause(300)
  meanwhile.listed = () => {
    rmSync(join(live, 'docs', 'goes'))
    rmSync(join(live, 'docs', 'deep', 'grows'))
    mkdirSync(join(live, 'docs', 'deep', 'grows', 'in'), { recursive: true })
  }
  t.like(await point(), { full: false, problemCount: 0 })
  t.deepEqual(taken, ['whole'])

  const names = refs.map(({ name }) => name)
  const last = join(orders.backups, names.at(-1) ?? '')
  const into = join(orders.outside, 'back')
  const expected = ['a.txt', 'deep', 'deep/big', 'deep/grows', 'deep/grows/in', 'stays']
  await extractTo(into, { points: orders.backups, names })
  t.deepEqual(readdirSync(join(into, 'docs'), { recursive: true }).map(String).sort(), expected)
  rmSync(into, { recursive: true })
  runRestoreScript(last, into, join(orders.outside, 'bin'))
  t.deepEqual(readdirSync(join(into, 'docs'), { recursive: true }).map(String).sort(), expected)
})

test('what happens beside a snapshot of what changed makes it whole, or fails the job, and is never taken for the tree', async (t) => {
  if (!canArchive(t)) return t.pass()
  const backups = await open(t, 'copies on ext4', false)
  const { live, taken, meanwhile, orders, refs } = backups
  fill(live)
  await pause(SETTLED_MS)
  await backups.point()

  writeFileSync(join(live, 'docs', 'b.txt'), 'new')
  meanwhile.before = () => {
    renameSync(join(live, 'docs'), join(live, 'moved'))
    mkdirSync(join(live, 'docs'))
    writeFileSync(join(live, 'docs', 'other'), 'other')
  }
  t.like(await backups.point(), { full: false })
  t.deepEqual(taken.splice(0), ['whole', 2, 'whole'], 'a directory was replaced')
  delete meanwhile.before

  await backups.point()
  writeFileSync(join(live, 'docs', 'c.txt'), 'new')
  meanwhile.behind = (image) => {
    execFileSync('/bin/sleep', ['0.05'])
    utimesSync(join(image, 'docs'), 1, 1)
  }
  const spec = orders.create(refs, backups.source)
  const failure = await failureOf(t, orders.run(spec, { tools: backups.tools }))
  t.is(failure.code, 'conflict', failure.message)
  t.is(readdirSync(orders.pool).length, 1, 'of what failed nothing is left')
  delete meanwhile.behind

  taken.splice(0)
  const [listing = ''] = backups.listings()
  const path = join(orders.tools.points.listings, listing)
  truncateSync(path, statSync(path).size - 1)
  t.like(await backups.point(), { full: false, problemCount: 0 })
  t.deepEqual(taken.splice(0), ['whole'], 'its listing was cut off')

  // So that nothing but the file differs, and the point below tells of it.
  appendFileSync(join(live, 'docs', 'c.txt'), 'more')
  await pause(SETTLED_MS)
  await backups.point()
  taken.splice(0)
  appendFileSync(join(live, 'docs', 'c.txt'), 'more')
  const index = join(orders.backups, refs.at(-1)?.name ?? '', 'index.ndjson.zst')
  writeFileSync(index, readFileSync(index).fill('rot', 8, 40))
  t.like(await backups.point(), { full: true })
  t.is(taken.splice(0).at(-1), 'whole', 'the point below is damaged')
  t.is(describeTree(join(live)), backups.trees.at(-1) ?? '')
  const into = join(orders.outside, 'back')
  await extractTo(into, { points: orders.backups, names: [refs.at(-1)?.name ?? ''] })
  t.deepEqual(differences(describeTree(into), backups.trees.at(-1) ?? ''), [])
})
