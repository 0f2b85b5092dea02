import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import {
  calm,
  canArchive,
  closeChain,
  describeTree,
  differences,
  differencesByScript,
  extractTo,
  openChain,
  openDataset,
  writePoint,
} from '../../test/harness/archive.ts'
import { sharedMounts, temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { runRestore } from '../../test/harness/restore-run.ts'
import { testUnless } from '../../test/harness/system-packages.ts'
import { THOROUGHNESS } from '../../test/harness/thoroughness.ts'
import { openOriginal } from '../pipelines/original.ts'
import { compareTree } from '../points/compare-tree.ts'
import { diff } from './browse.ts'
import { consolidate } from './consolidate.ts'
import { LocalSink } from './local-sink.ts'
import { update } from './update.ts'
import { verify } from './verify.ts'

const MIB = 2 ** 20
/** Of what changed within two seconds before a snapshot nothing is known by its time. */
const SETTLED_MS = 2_200
const ROUNDS = 4 * THOROUGHNESS
const TOOLS = ['tar', 'zstd', 'sha256sum', 'chmod', 'cp', 'dd', 'rm', 'stat', 'touch']
const POLICY = { devices: 'make', symlinks: 'keep' } as const
const shared = sharedMounts(test)

/** A dataset on btrfs with points of its snapshots. */
async function open(t: ExecutionContext) {
  const { driver, source, live, home } = await openDataset({ on: shared('btrfs'), driver: 'btrfs' })
  const images: string[] = []
  const names: string[] = []
  const sh = (script: string) => execFileSync('/bin/bash', ['-ec', script], { cwd: live, stdio: 'pipe' })
  const point = async (): Promise<{ readonly stored: number; readonly files: readonly string[] }> => {
    const target = crypto.randomUUID()
    const { mountpoint, original } = await driver.snapshot({ source, target, readonly: true }, calm)
    const living = original && openOriginal(original)
    const olderFd = images.length === 0 ? -1 : openSync(images.at(-1) ?? '', 'r')
    images.push(mountpoint)
    const name = `p${names.length}`
    const chain = names.length === 0 ? undefined : await openChain(home, names)
    try {
      const base = chain && {
        points: [...names],
        lines: chain.lines(calm.signal),
        older: { by: 'path', fd: olderFd } as const,
      }
      const read = { live: living, ...(base === undefined ? {} : { base }) }
      const written = await writePoint({ tree: mountpoint, points: home, name }, read)
      names.push(name)
      t.is(written.totals.problems, 0)
      t.is(written.totals.version, written.files.some((file) => file.name === 'patches.tar.zst') ? 2 : 1)
      return { stored: written.totals.rawBytes, files: written.files.map((file) => file.name) }
    } finally {
      if (chain !== undefined) await closeChain(chain)
      if (olderFd >= 0) closeSync(olderFd)
      if (living !== undefined) closeSync(living.fd)
    }
  }
  return { home, live, images, names, sh, point }
}
type Backups = Awaited<ReturnType<typeof open>>

/** @returns in what points that were restored in every way differ from the snapshots that they are of */
async function wrong({ home, images, names }: Backups, points = [...names.keys()]): Promise<readonly string[]> {
  const found: string[] = []
  for (const index of points) {
    const image = images[index] ?? ''
    const expected = describeTree(image)
    const chain = names.slice(0, index + 1)
    const tell = (how: string, lines: readonly string[]) =>
      found.push(...lines.map((line) => `${index}: ${how}: ${line}`))
    const into = join(home, 'into')
    await extractTo(into, { points: home, names: chain })
    tell('restored', differences(describeTree(into), expected))
    const opened = await openChain(home, chain)
    const fd = openSync(into, 'r')
    tell('compared', (await compareTree(opened, fd, calm)).paths)
    closeSync(fd)
    for (const point of opened.points) {
      const { damaged } = await verify({ subject: 'verify', point, scratch: home }, calm)
      tell('verified', damaged)
    }
    await consolidate({ chain: opened, sink: new LocalSink(home, 'merged'), scratch: home }, calm)
    await closeChain(opened)
    rmSync(into, { recursive: true })
    await extractTo(into, { points: home, names: ['merged'] })
    tell('merged', differences(describeTree(into), expected))
    tell('merged by tar', byTar(join(home, 'merged'), into, expected))
    rmSync(join(home, 'merged'), { recursive: true })
    rmSync(into, { recursive: true })
    mkdirSync(into)
    const script = runRestore({ point: join(home, `p${index}`), into, bin: join(home, 'bin'), tools: TOOLS })
    tell('script', script.complaint === '' && script.status === 0 ? [] : [script.complaint])
    tell('script', differencesByScript(describeTree(into), expected))
    rmSync(into, { recursive: true })
  }
  return found
}

function byTar(point: string, into: string, expected: string): readonly string[] {
  rmSync(into, { recursive: true })
  mkdirSync(into)
  const script = 'zstd -dcq "$1"/data.tar.zst | tar -x -p --numeric-owner --xattrs --acls -C "$2"'
  execFileSync('/bin/sh', ['-ec', script, 'sh', point, into])
  return differences(describeTree(into), expected)
}

/** Paths of which a point holds a part. What was written right before a snapshot is looked at again: then that part is nothing. */
function patched({ home }: Backups, name: string): readonly string[] {
  const index = execFileSync('/usr/bin/zstd', ['-dcq', join(home, name, 'index.ndjson.zst')]).toString()
  const lines = index.split('\n').filter((line) => line.includes('"patch":'))
  return lines.map((line) => JSON.parse(line).p)
}

const asRoot = testUnless(process.getuid?.() === 0 ? undefined : 'needs root')
const lacks = (t: ExecutionContext) => !canArchive(t)

test('of a large file an increment holds what changed, and every way to restore it makes the whole', async (t) => {
  if (lacks(t)) return t.pass()
  const backups = await open(t)
  const { sh, point } = backups
  const name = "od'd \n\u00fc"
  sh(`mkdir d; head -c 12M /dev/urandom > "d/${name}"; echo small > small; truncate -s 30M holes; head -c 5M /dev/urandom |
    dd of=holes bs=1M seek=3 conv=notrunc status=none; setfattr -n user.a -v 1 "d/${name}"; chmod 640 holes; chown 7:8 holes`)
  const full = await point()
  t.true(full.stored > 17 * MIB)

  sh(`printf changed | dd of="d/${name}" bs=1 seek=5345678 conv=notrunc status=none; touch -d 2020-02-03 "d/${name}"`)
  const first = await point()
  t.true(first.files.includes('patches.tar.zst'))
  t.true(first.stored < MIB, String(first.stored))

  // Longer, shorter, a hole punched into it, metadata alone, all at once.
  sh(
    `head -c 3M /dev/urandom >> "d/${name}"; fallocate --punch-hole --offset 5M --length 1M holes; setfattr -x user.a "d/${name}"`,
  )
  const second = await point()
  t.true(second.stored < 5 * MIB, String(second.stored))
  sh(
    `truncate -s 9000001 "d/${name}"; truncate -s 70M holes; setfattr -n user.b -v 2 "d/${name}"; chmod 4755 "d/${name}"`,
  )
  await point()
  sh(
    `truncate -s 13M "d/${name}"; chmod 600 holes; cp --reflink=always "d/${name}" copy; mv copy "d/${name}"; mkdir later`,
  )
  const last = await point()
  t.true(last.stored < MIB, String(last.stored))
  t.deepEqual(await wrong(backups, [2, 4]), [])
})

test('a tree of an earlier point becomes that of a later one, patches and all', async (t) => {
  if (lacks(t)) return t.pass()
  const backups = await open(t)
  const { sh, point, home, names, images } = backups
  sh('head -c 12M /dev/urandom > large')
  await point()
  sh('echo 1 | dd of=large bs=1 seek=3M conv=notrunc status=none')
  await point()
  sh('echo 2 | dd of=large bs=1 seek=7M conv=notrunc status=none; truncate -s 11M large')
  await point()
  for (const from of [0, 1]) {
    const tree = join(home, `from${from}`)
    await extractTo(tree, { points: home, names: names.slice(0, from + 1) })
    const rootFd = openSync(tree, 'r')
    const chain = await openChain(home, names)
    await update({ subject: 'restore', chain, from, rootFd, policy: POLICY, scratch: home }, calm)
    await closeChain(chain)
    closeSync(rootFd)
    t.deepEqual(differences(describeTree(tree), describeTree(images[2] ?? '')), [])
  }
  await extractTo(join(home, 'one'), { points: home, names, path: 'large' })
  t.true(readFileSync(join(home, 'one/large')).equals(readFileSync(join(images[2] ?? '', 'large'))))
})

test('what is stored in part here and whole there is no difference, unless it changed', async (t) => {
  if (lacks(t)) return t.pass()
  const { sh, point, home, names } = await open(t)
  sh('head -c 8M /dev/urandom > large; head -c 8M /dev/urandom > other')
  await point()
  sh('for f in large other; do echo 1 | dd of=$f bs=1 seek=3M conv=notrunc status=none; done')
  await delay(SETTLED_MS)
  await point()
  const chain = await openChain(home, names)
  await consolidate({ chain, sink: new LocalSink(home, 'merged'), scratch: home }, calm)
  const merged = await openChain(home, ['merged'])
  t.deepEqual(await Array.fromAsync(diff(chain, merged, calm.signal)), [])
  sh('echo 2 | dd of=large bs=1 seek=5M conv=notrunc status=none')
  await delay(SETTLED_MS)
  await point()
  const later = await openChain(home, names)
  const found = await Array.fromAsync(diff(merged, later, calm.signal), ({ path, kind }) => `${kind} ${path}`)
  t.deepEqual(found, ['content large'])
  for (const each of [chain, merged, later]) await closeChain(each)
})

test('a file is stored whole where a patch would not do', async (t) => {
  if (lacks(t)) return t.pass()
  const backups = await open(t)
  const { sh, point } = backups
  sh(
    'head -c 8M /dev/urandom > half; cp half names; ln names second; head -c 1M /dev/urandom > small; mkdir sub; cp half sub/was; cp half gone',
  )
  await point()
  const touched = (files: string) =>
    `for f in ${files}; do echo x | dd of=$f bs=1 seek=500000 conv=notrunc status=none; done`
  sh(
    `${touched('names small')}; head -c 5M /dev/urandom | dd of=half conv=notrunc status=none; mv sub/was sub/is; ${touched('sub/is')}`,
  )
  await point()
  t.deepEqual(patched(backups, 'p1'), ['gone'])
  // What plain tar would take for ours is somebody's.
  sh(`mkdir .holdfast-patches; echo mine > .holdfast-patches/1; rm gone; ${touched('half')}`)
  const taken = await point()
  t.false(taken.files.includes('patches.tar.zst'))
  t.true(taken.stored > 8 * MIB)
  sh(`rm -r .holdfast-patches; head -c 8M /dev/urandom > gone; ${touched('half')}`)
  t.true((await point()).files.includes('patches.tar.zst'))
  t.deepEqual(await wrong(backups, [3]), [])
})

test('whatever is done to large files, every point is its snapshot', async (t) => {
  if (lacks(t)) return t.pass()
  const place = fc.integer({ min: 0, max: 14 * MIB })
  const length = fc.oneof(fc.integer({ min: 1, max: 9_000 }), fc.integer({ min: 1, max: 2 * MIB }))
  const act = fc.oneof(
    {
      weight: 5,
      arbitrary: fc
        .tuple(place, length)
        .map(
          ([at, bytes]) =>
            `head -c ${bytes} /dev/urandom | dd of=$f bs=64K oflag=seek_bytes seek=${at} conv=notrunc status=none`,
        ),
    },
    fc.tuple(place, length).map(([at, bytes]) => `fallocate --punch-hole --offset ${at} --length ${bytes} $f`),
    fc.tuple(place, length).map(([at, bytes]) => `fallocate --keep-size --offset ${at} --length ${bytes} $f`),
    place.map((size) => `truncate -s ${4 * MIB + size} $f`),
    fc
      .tuple(place, place)
      .map(([from, to]) => `xfs_io -c "reflink $f ${from - (from % 4_096)} ${to - (to % 4_096)} 65536" $f || true`),
    fc.constant('cp --reflink=always $f new; chmod 611 new; mv new $f'),
    fc.constant('touch $f'),
    fc.constant('mv a tmp; mv b a; mv tmp b'),
  )
  const acts = fc.array(fc.tuple(fc.constantFrom('a', 'b'), act), { minLength: 1, maxLength: 8 })
  let patched = 0
  await fc.assert(
    fc.asyncProperty(fc.array(acts, { minLength: 2, maxLength: 5 }), async (rounds) => {
      const backups = await open(t)
      backups.sh('head -c 10M /dev/urandom > a; head -c 7M /dev/urandom > b; truncate -s 12M b')
      await backups.point()
      for (const round of rounds) {
        backups.sh(round.map(([file, what]) => `f=${file}; ${what}`).join('\n'))
        if ((await backups.point()).files.includes('patches.tar.zst')) patched += 1
      }
      const found = await wrong(backups, [rounds.length])
      if (found.length > 0) throw new Error(found.join('\n'))
    }),
    { numRuns: 3 * THOROUGHNESS },
  )
  t.true(patched > 0)
})

test('a patch whose file is not below it ends a restore, and is named', async (t) => {
  if (lacks(t)) return t.pass()
  const backups = await open(t)
  const { sh, point, home } = backups
  sh('head -c 8M /dev/urandom > large')
  await point()
  sh('echo 1 | dd of=large bs=1 seek=3M conv=notrunc status=none')
  await point()
  const other = await open(t)
  other.sh('echo small > large')
  await other.point()
  execFileSync('/bin/cp', ['-r', join(other.home, 'p0'), join(home, 'q0')])
  const restored = extractTo(join(home, 'into'), { points: home, names: ['q0', 'p1'] })
  await t.throwsAsync(restored, { code: 'corrupt', message: /'large': what it is a patch of is not in the chain/ })
  const lost = extractTo(join(home, 'lost'), { points: home, names: ['q0', 'p1'], path: 'large' })
  await t.throwsAsync(lost, { code: 'corrupt' })
})

/** Writes all over a file, says that it has begun, and ends by itself. */
const WRITER = `import os, sys, time, random, mmap
fd = os.open(sys.argv[1], os.O_RDWR)
size = os.fstat(fd).st_size
mapped = mmap.mmap(fd, size)
end = time.monotonic() + float(sys.argv[2])
print('go', flush=True)
while time.monotonic() < end:
    place = random.randrange(size // 4096) * 4096
    if sys.argv[3] == 'mapped': mapped[place:place + 4096] = os.urandom(4096)
    else: os.pwrite(fd, os.urandom(4096), place)
`

test('a snapshot in the middle of writes, which has their time and not yet all of their data, misleads no later point', async (t) => {
  if (lacks(t)) return t.pass()
  for (const size of ['6M', '200K']) {
    const backups = await open(t)
    const { live, images, names, home, sh, point } = backups
    sh(`head -c ${size} /dev/urandom > busy`)
    await point()
    for (let round = 0; round < ROUNDS; round += 1) {
      const args = [
        '-c',
        WRITER,
        join(live, 'busy'),
        String(0.01 + Math.random() * 0.05),
        round % 2 ? 'mapped' : 'plain',
      ]
      const writer = spawn('/usr/bin/python3', args, { stdio: ['ignore', 'pipe', 'inherit'] })
      const ended = once(writer, 'exit')
      await once(writer.stdout, 'data')
      await point()
      await ended
      await point()
      sh('printf x | dd of=busy bs=1 seek=100000 conv=notrunc status=none')
      await point()
      for (const back of [2, 1]) {
        const into = join(home, 'into')
        await extractTo(into, { points: home, names: names.slice(0, names.length - back + 1) })
        const [found, expected] = [join(into, 'busy'), join(images.at(-back) ?? '', 'busy')]
        t.true(
          readFileSync(found).equals(readFileSync(expected)),
          `${size}, round ${round}, point ${names.length - back}`,
        )
        rmSync(into, { recursive: true })
      }
    }
  }
})

asRoot('who is not root restores a patched file that is read-only', async (t) => {
  if (lacks(t)) return void t.pass()
  const backups = await open(t)
  const { sh, point, home, images } = backups
  sh('head -c 6M /dev/urandom > large; chmod 0440 large')
  await point()
  sh('printf x | dd of=large bs=1 seek=3M conv=notrunc status=none; chmod 0044 large')
  t.true((await point()).files.includes('patches.tar.zst'))
  const open755 = temporaryDirectory(t)
  execFileSync('/bin/sh', [
    '-ec',
    'cp -r "$1"/p0 "$1"/p1 "$2"; chmod -R a+rX "$2"; mkdir "$2/own"; chown 65534:65534 "$2/own"',
    'sh',
    home,
    open755,
  ])
  const into = join(open755, 'own')
  // A run as root makes its links to the tools.
  mkdirSync(join(home, 'root'))
  runRestore({ point: join(home, 'p1'), into: join(home, 'root'), bin: join(open755, 'bin'), tools: TOOLS })
  const run = runRestore({ point: join(open755, 'p1'), into, bin: join(open755, 'bin'), tools: TOOLS, uid: 65_534 })
  t.deepEqual(run, { status: 0, complaint: '' })
  const seen = (directory: string) =>
    execFileSync('/bin/sh', [
      '-c',
      'cd "$1"; sha256sum large; stat -c "%a %y" large; ls -A',
      'sh',
      directory,
    ]).toString()
  t.is(seen(into), seen(images[1] ?? ''))
})
