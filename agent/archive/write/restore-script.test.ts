import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  calm,
  canArchive,
  closeChain,
  describeTree,
  differences,
  openChain,
  writePoint,
} from '../../../test/harness/archive.ts'
import { temporaryDirectory } from '../../../test/harness/loop-mount.ts'
import { runRestore } from '../../../test/harness/restore-run.ts'
import { lacksTool, testUnless } from '../../../test/harness/system-packages.ts'
import { restoreScript } from './restore-script.ts'

const asRoot = testUnless(process.getuid?.() === 0 ? lacksTool('setfacl', 'getfattr') : 'not root')

function sh(cwd: string, script: string): void {
  execFileSync('/bin/sh', ['-ec', script], { cwd, stdio: 'pipe' })
}

/** Makes a chain: the tree after each of the steps is a point. @returns what the tree was then */
async function chainOf(home: string, steps: readonly string[]): Promise<readonly string[]> {
  const tree = join(home, 'tree')
  mkdirSync(tree)
  const names: string[] = []
  const trees: string[] = []
  for (const [number, step] of steps.entries()) {
    sh(tree, step)
    const name = `p${number}`
    if (number === 0) await writePoint({ tree, points: home, name })
    else {
      const chain = await openChain(home, names)
      const base = { points: names.slice(), lines: chain.lines(calm.signal) }
      await writePoint({ tree, points: home, name }, { base })
      await closeChain(chain)
    }
    names.push(name)
    trees.push(describeTree(tree))
  }
  return trees
}

function restore(
  home: string,
  name: string,
): { readonly status: number | null; readonly complaint: string; readonly into: string } {
  const into = join(home, `back ${name}`)
  mkdirSync(into)
  return { ...runRestore({ point: join(home, name), into, bin: join(home, 'bin') }), into }
}

const MAKE: Readonly<Record<string, string>> = {
  directory: 'mkdir -p e/sub; echo in > e/in; echo deep > e/sub/deep',
  'empty directory': 'mkdir e',
  file: 'echo file > e',
  'link to a directory': 'ln -s target e',
  'link to a file': 'ln -s file e',
  'dangling link': 'ln -s nowhere/at/all e',
  'absolute link': 'ln -s /var e',
  fifo: 'mkfifo e',
  'hard link': 'ln file e',
  nothing: ':',
}

asRoot('an entry may change into anything else between two points', async (t) => {
  const kinds = Object.keys(MAKE)
  const home = temporaryDirectory(t)
  // Every kind into every other at once: one directory a pair.
  const pairs = kinds.flatMap((from, row) => kinds.map((to, column) => ({ directory: `${row}-${column}`, from, to })))
  const each = (script: (pair: (typeof pairs)[number]) => string) =>
    pairs.map((pair) => `(cd ${pair.directory}; ${script(pair)})`).join('\n')
  const make = pairs.map(
    ({ directory }) => `mkdir -p ${directory}/target; echo t > ${directory}/target/t; echo f > ${directory}/file`,
  )
  const trees = await chainOf(home, [
    `${make.join('\n')}\n${each(({ from }) => MAKE[from] ?? '')}`,
    each(({ to }) => `rm -rf e; ${MAKE[to]}`),
    each(({ from }) => `rm -rf e; ${MAKE[from]}`),
  ])
  for (const [number, expected] of trees.entries()) {
    const { status, complaint, into } = restore(home, `p${number}`)
    t.deepEqual({ status, complaint }, { status: 0, complaint: '' })
    t.deepEqual(differences(describeTree(into), expected), [], `p${number}`)
  }
})

asRoot('names of one file stay names of one file, whatever became of the others', async (t) => {
  const home = temporaryDirectory(t)
  const trees = await chainOf(home, [
    'for n in 1 2 3 4 5 6 7 8; do mkdir $n; echo $n > $n/a; ln $n/a $n/b; ln $n/a $n/c; done',
    `echo changed >> 1/a
     rm 2/a
     rm 3/b; echo other > 3/b; ln 3/b 3/d
     mv 4/a 4/z
     ln 5/c 5/0
     rm 6/a 6/c
     echo new > 7/new; mv 7/new 7/a
     ln 8/b 1/from8`,
    'rm 1/b; ln 2/b 2/a; mv 3/d 3/0; echo more >> 4/z; rm 5/a 5/b; ln 6/b 7/from6; chmod 600 8/a',
  ])
  for (const [number, expected] of trees.entries()) {
    const { status, complaint, into } = restore(home, `p${number}`)
    t.deepEqual({ status, complaint }, { status: 0, complaint: '' })
    t.deepEqual(differences(describeTree(into), expected), [], `p${number}`)
  }
})

asRoot('directories that lost entries lose them, with what was below, and keep their times', async (t) => {
  const home = temporaryDirectory(t)
  const trees = await chainOf(home, [
    'mkdir -p a/b/c/d "with space/x" keep/me; echo 1 > a/b/c/d/f; echo 2 > a/top; echo 3 > "with space/x/f"; echo 4 > keep/me/f; setfacl -d -m u:99:rwx a; setfattr -n user.k -v v a; touch "$(printf "new\\nline")"',
    'rm -r a/b "with space/x"; touch -d 2001-01-01 a "with space"; rm -f new*',
    'rm -r a; touch -d 2002-02-02 .',
    'mkdir -p a/b; echo again > a/b/f; rm -r keep/me',
  ])
  for (const [number, expected] of trees.entries()) {
    const { status, complaint, into } = restore(home, `p${number}`)
    t.deepEqual({ status, complaint }, { status: 0, complaint: '' })
    t.deepEqual(differences(describeTree(into), expected), [], `p${number}`)
  }
})

asRoot('it runs from anywhere, and only into a directory that is empty', async (t) => {
  const home = join(temporaryDirectory(t), 'a home')
  mkdirSync(home)
  await chainOf(home, ['echo a > a', 'rm a; echo b > b'])
  const run = (cwd: string, point: string, into: string) => {
    const { status } = runRestore({ cwd, point, into, bin: join(home, 'bin') })
    return status
  }
  const from = (cwd: string, point: string, name: string) => {
    mkdirSync(join(home, name))
    const status = run(cwd, point, cwd === '/' ? join(home, name) : cwd === home ? name : `../${name}`)
    return [status, ...readdirSync(join(home, name))]
  }
  t.deepEqual(from('/', join(home, 'p1'), 'one'), [0, 'b'])
  t.deepEqual(from(home, 'p1', 'two'), [0, 'b'])
  t.deepEqual(from(join(home, 'p1'), '.', 'three'), [0, 'b'])
  t.deepEqual(from(join(home, 'p0'), '../p1', '-four'), [0, 'b'])
  for (const entry of ['b', '.hidden', '..odd']) {
    mkdirSync(join(home, `full${entry}`))
    writeFileSync(join(home, `full${entry}`, entry), 'mine')
    t.is(run(home, 'p1', join(home, `full${entry}`)), 1, entry)
    t.is(readFileSync(join(home, `full${entry}`, entry), 'utf8'), 'mine')
  }
  t.is(run(home, 'p1', join(home, 'nowhere')), 2)
  mkdirSync(join(home, 'last'))
  for (const missing of ['tar', 'zstd', 'sha256sum']) {
    const tools = ['tar', 'zstd', 'sha256sum'].filter((tool) => tool !== missing)
    const found = runRestore({ cwd: home, point: 'p1', into: 'last', bin: join(home, `no ${missing}`), tools })
    t.is(found.status, 1)
    t.regex(found.complaint, new RegExp(`needs (GNU )?${missing}`))
  }
})

asRoot('who is not root gets the content, and an exit status for what could not be made', async (t) => {
  if (!canArchive(t)) {
    t.pass()
    return
  }
  const home = temporaryDirectory(t)
  await chainOf(home, [
    'echo a > a; chown 12:34 a; chmod 4755 a; setfattr -n trusted.t -v 1 a; setfattr -n user.u -v 2 a; mkdir d; echo x > d/x',
    'echo b > b',
    'mknod device c 1 3',
    'echo c > c',
  ])
  chmodSync(home, 0o755)
  execFileSync('/bin/chmod', ['-R', 'a+rX', home])
  const run = (name: string) => {
    const into = join(home, `user ${name}`)
    mkdirSync(into)
    chownSync(into, 65534, 65534)
    const { status } = runRestore({ point: join(home, name), into, bin: join(home, 'bin'), uid: 65534 })
    return { status, found: readdirSync(into).toSorted() }
  }
  // The bin directory must be there before the user is.
  t.is(restore(home, 'p0').status, 0)
  t.deepEqual(run('p1'), { status: 0, found: ['a', 'b', 'd'] })
  t.deepEqual(run('p3'), { status: 1, found: ['a', 'b', 'c', 'd'] })
})

asRoot('damage of any file of any point of the chain, or a torn list of sums, stops it before it writes', async (t) => {
  const home = temporaryDirectory(t)
  await chainOf(home, ['echo a > a; echo b > b', 'rm a; echo c > c'])
  const into = join(home, 'into')
  mkdirSync(into)
  const run = () => runRestore({ point: join(home, 'p1'), into, bin: join(home, 'bin') }).status
  for (const point of ['p0', 'p1']) {
    const sums = join(home, point, 'sums')
    const whole = readFileSync(sums, 'utf8')
    for (const lines of [0, 1, 2, 3]) {
      writeFileSync(sums, whole.split('\n').slice(0, lines).join('\n'))
      t.is(run(), 1, `${lines} lines`)
      writeFileSync(sums, whole)
    }
    // A line that is no sum any more is no more than a warning to sha256sum, unless it is told to be strict.
    for (const line of whole.trim().split('\n')) {
      writeFileSync(sums, whole.replace(line, `g${line.slice(1)}`))
      t.is(run(), 1, line)
      writeFileSync(sums, whole)
    }
    for (const name of readdirSync(join(home, point))) {
      if (point === 'p1' && name === 'restore.sh') continue
      const path = join(home, point, name)
      const bytes = readFileSync(path)
      writeFileSync(path, bytes.subarray(0, bytes.length - 2))
      t.is(run(), 1, `${point}/${name}`)
      writeFileSync(path, bytes)
    }
  }
  // Sums that fit what is damaged: then the pipe itself tells, which no shell does by itself.
  const data = join(home, 'p0', 'data.tar.zst')
  const bytes = readFileSync(data)
  writeFileSync(data, bytes.subarray(0, bytes.length - 5))
  t.deepEqual(readdirSync(into), [])
  sh(join(home, 'p0'), 'grep -v data sums > others; sha256sum data.tar.zst | cat - others > sums; rm others')
  t.is(run(), 1)
})

testUnless(undefined)('names that could be more than names are refused', (t) => {
  for (const name of ['a b', '../x', '-x', "x';rm", '', '.'])
    t.throws(() => restoreScript([name]), { code: 'invalid' }, name)
  t.true(restoreScript(['p0', 'p-1']).includes("chain='../p0 ../p-1 .'"))
})
