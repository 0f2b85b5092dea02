import { execFileSync } from 'node:child_process'
import { closeSync, openSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import {
  calm,
  canArchive,
  closeChain,
  describeTree,
  differences,
  extractTo,
  makeNastyTree,
  openChain,
  writePoint,
} from '../../test/harness/archive.ts'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { update } from './update.ts'
import type { ArchiveWatch } from './write-archive.ts'

const POLICY = { devices: 'make', symlinks: 'keep' } as const

function sh(cwd: string, script: string): void {
  execFileSync('/bin/sh', ['-ec', script], { cwd, stdio: 'pipe' })
}

async function updateTree(
  tree: string,
  of: { readonly home: string; readonly names: readonly string[]; readonly from: number },
  watch: ArchiveWatch = calm,
) {
  const rootFd = openSync(tree, 'r')
  const chain = await openChain(of.home, of.names)
  try {
    return await update({ subject: 'restore', chain, from: of.from, rootFd, policy: POLICY, scratch: of.home }, watch)
  } finally {
    await closeChain(chain)
    closeSync(rootFd)
  }
}

/** By turns: kinds change into one another, what is in it is moved, attributes come and go, and names of one file too. */
const ROUNDS = [
  '',
  'rm -r d/e empty; echo changed > plain; mv emptydir moved; rm fifo; mkdir fifo; echo in > fifo/in; rm -r a; echo file > a; chmod 711 d; echo more >> holeend; rm bigger; mkdir -p n/m; echo new > n/m/new; ln -s n newlink; ln plain n/second; ln plain third',
  'mv d d2; mkdir d; setfattr -n user.dir -v 1 d; setfacl -d -m u:99:rwx d; echo again > d/e; rm -r fifo; mkfifo fifo; mv n/m/new n/m/newer; setfattr -n user.x -v 1 n; touch -d 2020-01-01 big; rm newlink; mkdir newlink; echo x > newlink/x',
  'echo longer >> n/second; rm third; setfattr -x user.x n; setfattr -x user.dir d; mkfifo d/pipe; echo in > d/f; mkdir d/g; echo deep > d/g/h; rm a; mkdir a; echo b > a/b; rm -r newlink; ln -s d newlink; chown 7:8 n/m; mknod dev c 1 3; chmod 4711 n/second',
  'setfacl -b d; rm -r d/g; echo g > d/g; rm dev; mv n n2; mv d2 n; touch -d 2001-01-01 .',
]

test('a tree of any point of a chain becomes that of any later one, and again after it was interrupted', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  makeNastyTree(tree)
  const [names, trees]: [string[], string[]] = [[], []]
  for (const [round, script] of ROUNDS.entries()) {
    sh(tree, script)
    const chain = round === 0 ? undefined : await openChain(home, names)
    const base = chain && { base: { points: [...names], lines: chain.lines(calm.signal) } }
    await writePoint({ tree, points: home, name: `p${round}` }, base ?? {})
    if (chain !== undefined) await closeChain(chain)
    names.push(`p${round}`)
    trees.push(describeTree(tree))
  }
  for (const [from, last] of [
    [2, 3],
    [0, 4],
    [3, 3],
  ] as const) {
    const copy = join(home, `copy-${from}-${last}`)
    await extractTo(copy, { points: home, names: names.slice(0, from + 1) })
    t.deepEqual(differences(describeTree(copy), trees[from] ?? ''), [])
    const of = { home, names: names.slice(0, last + 1), from }
    const { files } = await updateTree(copy, of)
    t.deepEqual(differences(describeTree(copy), trees[last] ?? ''), [], `${from} to ${last}`)
    t.is(files === 0, from === last)
    // As a kill in the middle leaves it: some of it was done, some of that not wholly.
    sh(
      copy,
      'rm -rf a plain fifo n newlink; mkdir -p plain/half newlink; echo half > a; : > n; setfattr -n user.half -v 1 .',
    )
    await updateTree(copy, of)
    if (from === 0 && last === 4) t.deepEqual(differences(describeTree(copy), trees[last] ?? ''), [], 'half of it')
    rmSync(copy, { recursive: true })
  }
})

test('an unchanged name of a file that another of its names brought anew is one with it', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  sh(
    home,
    'mkdir -p tree/in/deep; echo one > tree/b; ln tree/b tree/in/a; ln tree/b tree/in/deep/z; echo x > tree/in/deep/q',
  )
  await writePoint({ tree, points: home, name: 'p0' })
  const chain = await openChain(home, ['p0'])
  // `b` was read badly then.
  const flawed = (async function* () {
    for await (const piece of chain.lines(calm.signal))
      yield Buffer.from(piece.toString().replace(/^(\{"p":"b".*)\}$/m, '$1,"x":"changed"}'))
  })()
  sh(tree, 'echo new > new')
  const { totals } = await writePoint({ tree, points: home, name: 'p1' }, { base: { points: ['p0'], lines: flawed } })
  t.is(totals.members, 3)
  await closeChain(chain)
  const copy = join(home, 'copy')
  await extractTo(copy, { points: home, names: ['p0'] })
  for (const turn of ['once', 'twice']) {
    await updateTree(copy, { home, names: ['p0', 'p1'], from: 0 })
    t.deepEqual(differences(describeTree(copy), describeTree(tree)), [], turn)
  }
})

test('a cancelled update ends soon, and the next one ends it', async (t) => {
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  sh(home, 'mkdir -p tree/d; cd tree/d; i=0; while [ $i -lt 600 ]; do echo $i > f$i; i=$((i+1)); done')
  await writePoint({ tree, points: home, name: 'p0' })
  await extractTo(join(home, 'copy'), { points: home, names: ['p0'] })
  sh(
    tree,
    'cd d; for f in f1*; do echo x >> $f; done; rm f2*; rm -r ../d/f3*; mkdir f3; head -c 30000000 /dev/zero > big',
  )
  const chain = await openChain(home, ['p0'])
  await writePoint({ tree, points: home, name: 'p1' }, { base: { points: ['p0'], lines: chain.lines(calm.signal) } })
  await closeChain(chain)
  const of = { home, names: ['p0', 'p1'], from: 0 }
  const cancel = new AbortController()
  const cancelled = updateTree(join(home, 'copy'), of, { signal: cancel.signal, progress: () => cancel.abort() })
  await cancelled.catch((error: unknown) => t.like(error, { code: 'cancelled' }))
  await updateTree(join(home, 'copy'), of)
  t.deepEqual(differences(describeTree(join(home, 'copy')), describeTree(tree)), [])
})
