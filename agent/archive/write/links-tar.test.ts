import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import {
  calm,
  canArchive,
  closeChain,
  describeTree,
  differences,
  extractTo,
  openChain,
  writePoint,
} from '../../../test/harness/archive.ts'
import { temporaryDirectory } from '../../../test/harness/loop-mount.ts'
import { runRestore } from '../../../test/harness/restore-run.ts'
import { THOROUGHNESS } from '../../../test/harness/thoroughness.ts'
import { consolidate } from '../consolidate.ts'
import { LocalSink } from '../local-sink.ts'
import type { ArchiveSink } from '../sink.ts'
import type { WriteRequest } from '../write-archive.ts'

const RUNS = 3 * THOROUGHNESS
const INCREMENTS = 5

function sh(cwd: string, script: string): void {
  execFileSync('/bin/sh', ['-ec', script], { cwd, stdio: 'pipe' })
}

/** The next point of a chain. @returns the names of its files */
async function point(home: string, names: string[], request: Partial<WriteRequest> = {}): Promise<readonly string[]> {
  const name = `p${names.length}`
  const chain = names.length === 0 ? undefined : await openChain(home, names)
  const base = chain === undefined ? {} : { base: { points: names.slice(), lines: chain.lines(calm.signal) } }
  const { files } = await writePoint({ tree: join(home, 'tree'), points: home, name }, { ...base, ...request })
  if (chain !== undefined) await closeChain(chain)
  names.push(name)
  return files.map((file) => file.name)
}

/** @returns in what that which the script of a point restores differs */
function wrongByScript(home: string, name: string, expected: string): readonly string[] {
  const into = join(home, `script-${name}`)
  mkdirSync(into)
  const { status, complaint } = runRestore({ point: join(home, name), into, bin: join(home, 'bin') })
  const wrong = status === 0 && complaint === '' ? [] : [`${status}: ${complaint}`]
  return [...wrong, ...differences(describeTree(into), expected)].map((line) => `${name}: ${line}`)
}

test('names that an increment does not hold are names of what it holds, and their directories keep their times', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  mkdirSync(tree)
  sh(
    tree,
    `mkdir -p a/deep b "c c" k/m/n; echo 1 > a/f; for n in a/deep/g b/f "c c/f" zf; do ln a/f $n 2>/dev/null || ln a/f "$n"; done
     head -c 300000 /dev/zero > b/holes; truncate -s 2M b/holes; ln b/holes k/m/n/holes
     ln -s /nowhere b/sym; ln b/sym k/sym; mkfifo b/fifo; ln b/fifo "c c/fifo"; mknod b/null c 1 3; ln b/null k/m/null
     long=$(printf 'n%.0s' $(seq 200)); mkdir $long; echo long > $long/$long; ln $long/$long "k/$(printf 'new\\nline')"
     setfacl -d -m u:99:rwx "c c"; setfattr -n user.k -v v k/m; chmod 500 k/m/n; touch -d 2001-01-01 a/deep "c c" k/m/n k/m k .`,
  )
  const names: string[] = []
  const trees: string[] = []
  const next = async (script: string) => {
    sh(tree, script)
    const files = await point(home, names)
    trees.push(describeTree(tree))
    return files.includes('links.tar.zst')
  }
  t.false(await next(':'))
  t.false(await next(':'), 'nothing changed')
  t.false(await next('echo more >> a/f; chmod 600 b/holes'), 'all names changed')
  t.true(await next('mv b renamed; mv n* nn; touch -d 2002-02-02 renamed .'))
  t.true(await next('mkdir b; mv "c c" b/c; touch -d 2003-03-03 b'))
  t.true(await next('mv k/m b; rm -r renamed/null; mv renamed/f k/f'))
  for (const [number, expected] of trees.entries()) t.deepEqual(wrongByScript(home, names[number] ?? '', expected), [])
})

test('what was read badly under one name is replaced under all of them', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  const big = join(home, 'tree', 'a', 'big')
  mkdirSync(join(home, 'tree', 'a'), { recursive: true })
  writeFileSync(big, Buffer.alloc(40 * 2 ** 20, 'a'))
  sh(join(home, 'tree'), 'mkdir z; ln a/big z/big; ln a/big a/last; echo other > other; touch -d 2001-01-01 z a')
  const names: string[] = []
  await point(home, names, { sink: changingSink(home, 'p0', () => truncateSync(big, 20 * 2 ** 20)) })
  t.true((await point(home, names)).includes('links.tar.zst'))
  const expected = describeTree(join(home, 'tree'))
  t.deepEqual(wrongByScript(home, 'p1', expected), [])
  await extractTo(join(home, 'ours'), { points: home, names })
  t.deepEqual(differences(describeTree(join(home, 'ours')), expected), [])
})

/** Something happens while the first frame waits here, so that the reading thread stands in the middle of a file. */
function changingSink(home: string, name: string, change: () => void): ArchiveSink {
  const local = new LocalSink(home, name)
  let changed = false
  return {
    commit: () => local.commit(),
    abort: () => local.abort(),
    open: async (file, signal) => {
      const stored = await local.open(file, signal)
      return {
        close: () => stored.close(),
        write: async (chunk) => {
          if (!changed) change()
          changed = true
          await stored.write(chunk)
        },
      }
    },
  }
}

test('a socket is told, makes no point partial, and what had its name before is gone', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  mkdirSync(tree)
  sh(tree, 'echo a > a; mkdir d; echo in > d/in; ln -s a l; mkfifo p; echo keep > keep')
  const names: string[] = []
  await point(home, names)
  const bind = 'import socket,sys; [socket.socket(socket.AF_UNIX).bind(p) for p in sys.argv[1:]]'
  sh(tree, 'rm -r a d l p')
  execFileSync('/usr/bin/python3', ['-c', bind, 'a', 'd', 'l', 'p'], { cwd: tree })
  const chain = await openChain(home, names)
  const base = { points: names, lines: chain.lines(calm.signal) }
  const written = await writePoint({ tree, points: home, name: 'p1' }, { base })
  await closeChain(chain)
  t.deepEqual(
    written.problems,
    ['a', 'd', 'l', 'p'].map((path) => ({ path, reason: 'socket' })),
  )
  t.is(written.totals.problems, 0)
  mkdirSync(join(home, 'back'))
  const run = runRestore({ point: join(home, 'p1'), into: join(home, 'back'), bin: join(home, 'bin') })
  t.deepEqual(run, { status: 0, complaint: '' })
  t.deepEqual(readdirSync(join(home, 'back')), ['keep'])
})

type Change = (all: { readonly files: readonly string[]; readonly directories: readonly string[] }) => void
const number = fc.nat({ max: 999 })
const pick = (list: readonly string[], at: number) => list[at % list.length]
const NAMES = ['a', 'b', 'c', 'a-', 'é', 'z'] as const

/** One thing that happens; what is impossible does not. */
const change: fc.Arbitrary<Change> = fc
  .tuple(fc.constantFrom('write', 'link', 'link', 'link', 'move', 'move', 'move', 'append', 'remove', 'touch', 'symlink'), number, number, fc.constantFrom(...NAMES)) // biome-ignore format: one list
  .map(([act, from, to, name]) => ({ files, directories }) => {
    const [file, directory, parent] = [pick(files, from), pick(directories, from), pick(directories, to)]
    if (file === undefined || directory === undefined || parent === undefined) return
    const place = join(parent, name)
    const acts: Record<typeof act, () => void> = {
      write: () => writeFileSync(place, `${from} ${to}`),
      link: () => linkSync(file, place),
      move: () => (existsSync(place) ? mkdirSync(join(directory, 'more')) : renameSync(directory, place)),
      append: () => appendFileSync(file, 'more'),
      remove: () => rmSync(from % 4 === 0 ? directory : file, { recursive: true }),
      touch: () => utimesSync(directory, 0, from),
      symlink: () => symlinkSync('nowhere', place),
    }
    acts[act]()
  })

function applyAll(tree: string, changes: readonly Change[]): void {
  for (const apply of changes) {
    const entries = readdirSync(tree, { withFileTypes: true, recursive: true })
    const paths = (wanted: boolean) =>
      entries
        .filter((entry) => entry.isDirectory() === wanted)
        .map((entry) => join(entry.parentPath, entry.name))
        .toSorted()
    try {
      apply({ files: paths(false), directories: [...paths(true), tree] })
    } catch (error) {
      if (!(error instanceof Error && 'syscall' in error)) throw error
    }
    mkdirSync(tree, { recursive: true })
  }
}

test('whatever becomes of the names of files, the script of each point restores the groups that they were', async (t) => {
  if (!canArchive(t)) return t.pass()
  const rounds = fc.array(fc.array(change, { minLength: 3, maxLength: 8 }), {
    minLength: INCREMENTS + 1,
    maxLength: INCREMENTS + 1,
  })
  let linked = 0
  await fc.assert(
    fc.asyncProperty(rounds, async (changes) => {
      const home = temporaryDirectory(t)
      const tree = join(home, 'tree')
      mkdirSync(tree)
      sh(
        tree,
        'mkdir -p 1/x 2/y 3; for d in 1 1/x 2 3; do echo $d > $d/f; ln $d/f 2/y/f-$(basename $d); ln $d/f 3/$(basename $d)-f; done',
      )
      const names: string[] = []
      const trees: string[] = []
      for (const round of changes) {
        applyAll(tree, round)
        if ((await point(home, names)).includes('links.tar.zst')) linked += 1
        trees.push(describeTree(tree))
      }
      const wrong = names.flatMap((name, at) => wrongByScript(home, name, trees[at] ?? ''))
      await extractTo(join(home, 'ours'), { points: home, names })
      wrong.push(...differences(describeTree(join(home, 'ours')), trees.at(-1) ?? ''))
      const chain = await openChain(home, names)
      await consolidate({ chain, sink: new LocalSink(home, 'whole'), scratch: home }, calm)
      await closeChain(chain)
      wrong.push(...wrongByScript(home, 'whole', trees.at(-1) ?? ''))
      rmSync(home, { recursive: true })
      if (wrong.length > 0) throw new Error(wrong.join('\n'))
    }),
    { numRuns: RUNS, endOnFailure: true },
  )
  t.log(`${linked} increments had other names to tell of`)
  t.true(linked > 0)
})
