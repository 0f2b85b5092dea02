import { execFileSync } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { findTool } from '../../../deploy/tools.ts'
import { type AgeKeys, ageKeys } from '../../../test/harness/age.ts'
import { calm, closeChain, describeTree, differences, writePoint } from '../../../test/harness/archive.ts'
import { canMount, mountLoop, temporaryDirectory } from '../../../test/harness/loop-mount.ts'
import { runRestore } from '../../../test/harness/restore-run.ts'
import { lacksTool, testUnless } from '../../../test/harness/system-packages.ts'
import { bytePath } from '../byte-path.ts'
import { Chain } from '../chain.ts'
import { extract } from '../extract.ts'
import { LocalSink } from '../local-sink.ts'
import { Point } from '../point.ts'
import { LocalPointFiles, type PointFiles } from '../range-source.ts'
import { verify } from '../verify.ts'
import { decryptedFiles } from './decrypted-files.ts'
import { encryptedSink } from './encrypted-sink.ts'
import { keepingIndex, keptIndexFiles } from './kept-index.ts'

const withAge = testUnless(lacksTool('age', 'age-keygen', 'getfattr', 'setfacl'))
const TOOLS = ['tar', 'zstd', 'sha256sum', 'age']

interface Place {
  readonly home: string
  readonly tree: string
  readonly keys: AgeKeys
  /** A file with the identity in it, for the script; its path has a space. */
  readonly identity: string
}

function newPlace(t: ExecutionContext, home = temporaryDirectory(t)): Place {
  const keys = ageKeys()
  for (const name of ['tree', 'index', 'keys of mine']) mkdirSync(join(home, name))
  const identity = join(home, 'keys of mine', 'id')
  writeFileSync(identity, `# mine\n${keys.identity}\n`)
  return { home, tree: join(home, 'tree'), keys, identity }
}

function sh(cwd: string, script: string): void {
  execFileSync('/bin/sh', ['-ec', script], { cwd, stdio: 'pipe' })
}

async function chainOf(names: readonly string[], files: (name: string) => PointFiles): Promise<Chain> {
  return Chain.of(await Promise.all(names.map((name) => Point.open(files(name), calm.signal))))
}

/** Writes an encrypted point on top of others, of which only the kept indexes are read. */
async function write({ home, tree, keys }: Place, name: string, bases: readonly string[], olderFd = -1) {
  const sink = keepingIndex(encryptedSink(new LocalSink(home, name), [keys.recipient]), join(home, 'index', name))
  if (bases.length === 0) return writePoint({ tree, points: home, name }, { sink })
  const chain = await chainOf(bases, (base) => keptIndexFiles(join(home, 'index', base)))
  const older = olderFd < 0 ? {} : { older: { by: 'path', fd: olderFd } as const }
  const base = { points: bases, lines: chain.lines(calm.signal), ...older }
  const written = await writePoint({ tree, points: home, name }, { sink, base })
  await closeChain(chain)
  return written
}

async function readBack({ home }: Place, names: readonly string[], identities: readonly string[], into: string) {
  mkdirSync(into)
  const rootFd = openSync(into, 'r')
  const chain = await chainOf(names, (name) => decryptedFiles(new LocalPointFiles(join(home, name)), identities))
  try {
    const policy = { devices: 'make', symlinks: 'keep' } as const
    await extract({ subject: 'restore', chain, path: bytePath(''), rootFd, policy, scratch: home }, calm)
    const last = chain.points.at(-1)
    if (last === undefined) throw new Error('no point')
    return await verify({ subject: 'verify', point: last, scratch: home }, calm)
  } finally {
    await closeChain(chain)
    closeSync(rootFd)
  }
}

withAge(
  'an encrypted chain is written without the private key, and restored with it by us and by its script',
  async (t) => {
    const place = newPlace(t)
    const { home, tree, keys, identity } = place
    sh(
      tree,
      'mkdir -p "a dir/deep" gone; head -c 3000000 /dev/urandom > big; ln big "a dir/big2"; mkdir m; ln big m/big3; echo x > "a dir/x"; echo y > gone/y; ln -s big link; setfattr -n user.k -v v big; setfacl -m u:1234:r big',
    )
    const first = await write(place, 'p0', [])
    t.deepEqual(readdirSync(join(home, 'p0')).toSorted(), [
      'data.tar.zst.age',
      'frames.ndjson.zst.age',
      'index.ndjson.zst.age',
      'restore.sh',
      'sums',
    ])
    for (const { name, bytes } of first.files) t.is(statSync(join(home, 'p0', name)).size, bytes, name)
    const trees = [describeTree(tree)]
    sh(tree, 'rm -r gone; echo z > gone; echo more >> "a dir/x"; rm link; mkdir link; echo in > link/in; mv m moved')
    const second = await write(place, 'p1', ['p0'])
    for (const tar of ['gone.tar.zst.age', 'links.tar.zst.age'])
      t.true(
        second.files.some(({ name }) => name === tar),
        tar,
      )
    t.true(second.totals.members < first.totals.members + 3)
    trees.push(describeTree(tree))
    sh(tree, 'rm -r link; ln -s gone link; rm big; echo new > "a dir/deep/new"')
    await write(place, 'p2', ['p0', 'p1'])
    trees.push(describeTree(tree))

    for (const [last, expected] of trees.entries()) {
      const names = ['p0', 'p1', 'p2'].slice(0, last + 1)
      const verified = await readBack(place, names, [keys.identity], join(home, `ours ${last}`))
      t.is(verified.damagedCount, 0)
      t.deepEqual(differences(describeTree(join(home, `ours ${last}`)), expected), [])
      const into = join(home, `script ${last}`)
      mkdirSync(into)
      const run = runRestore({ point: join(home, `p${last}`), into, bin: join(home, 'bin'), identity, tools: TOOLS })
      t.deepEqual(run, { status: 0, complaint: '' })
      t.deepEqual(differences(describeTree(into), expected), [])
      sh(join(home, `p${last}`), 'sha256sum --quiet --strict -c sums') // needs no key
    }
    await t.throwsAsync(readBack(place, ['p0'], [ageKeys().identity], join(home, 'wrong')), { code: 'refused' })
    await t.throwsAsync(readBack(place, ['p0'], [], join(home, 'none')), { code: 'refused' })
  },
)

withAge('a chain may begin in the clear and go on encrypted', async (t) => {
  const place = newPlace(t)
  const { home, tree, keys, identity } = place
  sh(tree, 'echo a > a; echo b > b')
  const copy = join(home, 'index', 'p0')
  await writePoint({ tree, points: home, name: 'p0' }, { sink: keepingIndex(new LocalSink(home, 'p0'), copy) })
  sh(tree, 'rm a; echo c > c')
  await write(place, 'p1', ['p0'])
  await readBack(place, ['p0', 'p1'], [keys.identity], join(home, 'ours'))
  t.deepEqual(differences(describeTree(join(home, 'ours')), describeTree(tree)), [])
  mkdirSync(join(home, 'script'))
  const into = join(home, 'script')
  t.is(runRestore({ point: join(home, 'p1'), into, bin: join(home, 'bin'), identity, tools: TOOLS }).status, 0)
  t.deepEqual(differences(describeTree(into), describeTree(tree)), [])
})

withAge('what changed in a large file is encrypted, and written over the file by us and by the script', async (t) => {
  if (!canMount(t)) return void t.pass()
  const place = newPlace(t, mountLoop(t, 'btrfs'))
  const { home, tree, keys, identity } = place
  sh(tree, 'head -c 6000000 /dev/urandom > large')
  await write(place, 'p0', [])
  const older = join(home, 'older')
  renameSync(tree, older)
  sh(
    home,
    'cp -a --reflink=always older tree; echo changed | dd of=tree/large bs=1 seek=3000000 conv=notrunc status=none; sync -f .',
  )
  const olderFd = openSync(older, 'r')
  const { files } = await write(place, 'p1', ['p0'], olderFd)
  closeSync(olderFd)
  t.true(files.some(({ name }) => name === 'patches.tar.zst.age'))
  t.true(statSync(join(home, 'p1', 'data.tar.zst.age')).size < 100_000)
  const verified = await readBack(place, ['p0', 'p1'], [keys.identity], join(home, 'ours'))
  t.is(verified.damagedCount, 0)
  t.deepEqual(differences(describeTree(join(home, 'ours')), describeTree(tree)), [])
  const into = join(home, 'script')
  mkdirSync(into)
  const tools = [...TOOLS, 'chmod', 'cp', 'dd', 'rm', 'stat', 'touch']
  const bare = runRestore({ point: join(home, 'p1'), into, bin: join(home, 'bin'), identity, tools: TOOLS })
  t.regex(bare.complaint, /this needs chmod/)
  const run = runRestore({ point: join(home, 'p1'), into, bin: join(home, 'all'), identity, tools })
  t.deepEqual(run, { status: 0, complaint: '' })
  t.deepEqual(differences(describeTree(into), describeTree(tree)), [])
})

withAge('the script writes nothing without the right identity, or on damage in any file', async (t) => {
  const place = newPlace(t)
  const { home, tree, identity } = place
  sh(tree, 'echo a > a; head -c 200000 /dev/urandom > b')
  await write(place, 'p0', [])
  sh(tree, 'rm a; echo c > c')
  await write(place, 'p1', ['p0'])
  writeFileSync(join(home, 'other'), `${ageKeys().identity}\n`)
  writeFileSync(join(home, 'junk'), 'junk\n')
  const into = join(home, 'into')
  mkdirSync(into)
  const run = (settings: { identity?: string; tools?: readonly string[]; bin?: string }) =>
    runRestore({ point: join(home, 'p1'), into, bin: join(home, 'bin'), tools: TOOLS, ...settings })
  const refused = (found: ReturnType<typeof runRestore>, pattern: RegExp, what: string) => {
    t.is(found.status, 1, what)
    t.regex(found.complaint, pattern, what)
    t.deepEqual(readdirSync(into), [], what)
  }
  refused(run({}), /AGE_IDENTITY must name/, 'none')
  refused(run({ identity: join(home, 'missing') }), /no file that can be read/, 'missing')
  refused(run({ identity: join(home, 'other') }), /does not open with this identity/, 'wrong')
  refused(run({ identity: join(home, 'junk') }), /does not open with this identity/, 'junk')
  refused(run({ identity, bin: join(home, 'bare'), tools: ['tar', 'zstd', 'sha256sum'] }), /age or rage/, 'no age')
  for (const point of ['p0', 'p1']) {
    for (const name of readdirSync(join(home, point))) {
      if (point === 'p1' && name === 'restore.sh') continue // damaged itself, it can promise nothing
      const path = join(home, point, name)
      const whole = readFileSync(path)
      for (const bytes of [flipped(whole), whole.subarray(0, whole.length - 1), Buffer.alloc(0), undefined]) {
        if (bytes === undefined) rmSync(path)
        else writeFileSync(path, bytes)
        refused(run({ identity }), /is damaged|does not open/, `${point}/${name} of ${bytes?.length} bytes`)
      }
      writeFileSync(path, whole)
    }
  }
  t.is(run({ identity: 'keys of mine/id' }).status, 1) // a relative path is one from where it is called
  // rage is another program of the same format and arguments.
  const rage = join(home, 'with rage')
  mkdirSync(rage)
  symlinkSync(findTool('age') ?? '', join(rage, 'rage'))
  mkdirSync(join(home, 'by rage'))
  const byRage = runRestore({ point: join(home, 'p1'), into: join(home, 'by rage'), bin: rage, identity })
  t.deepEqual(byRage, { status: 0, complaint: '' })
  const found = runRestore({
    point: 'p1',
    into: 'into',
    cwd: home,
    bin: join(home, 'bin'),
    identity: 'keys of mine/id',
  })
  t.deepEqual(found, { status: 0, complaint: '' })
  t.deepEqual(differences(describeTree(into), describeTree(tree)), [])
})

function flipped(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes)
  const at = Math.floor(changed.length / 2)
  changed[at] = (changed[at] ?? 0) ^ 1
  return changed
}

withAge('the kept index is private, is the point’s own, and goes with a point that fails', async (t) => {
  const place = newPlace(t)
  const { home, tree, keys } = place
  sh(tree, 'echo a > a')
  await write(place, 'p0', [])
  const directory = join(home, 'index', 'p0')
  t.deepEqual(readdirSync(directory).toSorted(), ['frames.ndjson.zst', 'index.ndjson.zst'])
  for (const name of readdirSync(directory)) t.is(statSync(join(directory, name)).mode & 0o777, 0o600)
  await using point = await Point.open(keptIndexFiles(directory), calm.signal)
  t.is((await point.find('a', calm.signal))?.path, 'a')
  await t.throwsAsync(point.frame(0, calm.signal), { code: 'refused' })
  const kept = readFileSync(join(directory, 'index.ndjson.zst'))

  // The point is there already: the attempt fails as it is published, and the copy of the first stays.
  sh(tree, 'echo b > b')
  await t.throwsAsync(write(place, 'p0', []), { code: 'exists' })
  t.deepEqual(readFileSync(join(directory, 'index.ndjson.zst')), kept)
  const failing = new LocalSink(home, 'p1')
  failing.commit = () => Promise.reject(new Error('the target is gone'))
  const sink = keepingIndex(encryptedSink(failing, [keys.recipient]), join(home, 'index', 'p1'))
  await t.throwsAsync(writePoint({ tree, points: home, name: 'p1' }, { sink }), { message: /target is gone/ })
  t.deepEqual(readdirSync(join(home, 'index')), ['p0'])
  // What a killed attempt left is in nobody's way.
  mkdirSync(join(home, 'index', 'p2.partial'))
  writeFileSync(join(home, 'index', 'p2.partial', 'index.ndjson.zst'), 'torn')
  await write(place, 'p2', [])
  t.deepEqual(readdirSync(join(home, 'index')).toSorted(), ['p0', 'p2'])
})
