import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
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
  makeNastyTree,
  openChain,
  runRestoreScript,
  writePoint,
} from '../../test/harness/archive.ts'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { diff, listDirectory, type Page, search } from './browse.ts'
import { displayPath } from './byte-path.ts'
import { consolidate } from './consolidate.ts'
import { LocalSink } from './local-sink.ts'

async function increment(home: string, tree: string, bases: readonly string[], name: string) {
  const chain = await openChain(home, bases)
  const written = await writePoint(
    { tree, points: home, name },
    { base: { points: bases, lines: chain.lines(calm.signal) } },
  )
  await closeChain(chain)
  return written
}

function sh(cwd: string, script: string): void {
  execFileSync('/bin/sh', ['-ec', script], { cwd, stdio: 'pipe' })
}

test('every point of a chain comes back, by us and by its script, and a chain becomes one archive', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  makeNastyTree(tree)
  await writePoint({ tree, points: home, name: 'p0' })
  const trees = [describeTree(tree)]

  const same = await increment(home, tree, ['p0'], 'p1')
  t.is(same.totals.members, 0)
  t.true(same.totals.storedBytes < 100)
  trees.push(describeTree(tree))

  sh(
    tree,
    'rm -r d/e empty; echo changed > plain; mv emptydir moved; rm fifo; mkdir fifo; echo in > fifo/in; rm -r a; echo file > a; chmod 711 d; echo more >> holeend; rm bigger; mkdir -p n/m; echo new > n/m/new; ln -s n newlink',
  )
  const second = await increment(home, tree, ['p0', 'p1'], 'p2')
  t.true(second.files.some(({ name }) => name === 'gone.tar.zst'))
  trees.push(describeTree(tree))

  sh(
    tree,
    'mv d d2; mkdir d; setfattr -n user.dir -v 1 d; setfacl -d -m u:99:rwx d; echo again > d/e; rm -r fifo; mkfifo fifo; mv n/m/new n/m/newer; setfattr -n user.x -v 1 n; touch -d 2020-01-01 big',
  )
  await increment(home, tree, ['p0', 'p1', 'p2'], 'p3')
  trees.push(describeTree(tree))

  const names = ['p0', 'p1', 'p2', 'p3']
  for (const [last, expected] of trees.entries()) {
    await extractTo(join(home, `ours${last}`), { points: home, names: names.slice(0, last + 1) })
    t.deepEqual(differences(describeTree(join(home, `ours${last}`)), expected), [], `point ${last}`)
    runRestoreScript(join(home, `p${last}`), join(home, `script${last}`), join(home, `bin${last}`))
    t.deepEqual(differences(describeTree(join(home, `script${last}`)), expected), [], `script of point ${last}`)
  }

  const chain = await openChain(home, names)
  const full = await consolidate({ chain, sink: new LocalSink(home, 'whole'), scratch: home }, calm)
  t.deepEqual(full.totals.bases, [])
  await extractTo(join(home, 'from-whole'), { points: home, names: ['whole'] })
  t.deepEqual(differences(describeTree(join(home, 'from-whole')), trees.at(-1) ?? ''), [])
  runRestoreScript(join(home, 'whole'), join(home, 'whole-script'), join(home, 'bin-whole'))
  t.deepEqual(differences(describeTree(join(home, 'whole-script')), trees.at(-1) ?? ''), [])

  // The synthetic full stands for the chain: an increment on it finds nothing new.
  t.is((await increment(home, tree, ['whole'], 'after')).totals.members, 0)
  const [before, whole] = [await openChain(home, ['p0', 'p1', 'p2']), await openChain(home, ['whole'])]
  const changes: string[] = []
  for await (const { path, kind } of diff(before, chain, calm.signal)) changes.push(`${kind} ${path}`)
  t.true(
    changes.includes('added d2') &&
      changes.includes('removed n/m/new') &&
      changes.includes('metadata n') &&
      changes.includes('metadata big'),
  )
  const none: string[] = []
  for await (const { path } of diff(chain, whole, calm.signal)) none.push(path)
  t.deepEqual(none, [])
  for (const opened of [chain, before, whole]) await closeChain(opened)
})

test('what a chain was made without is a problem of what is made of the chain too', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  sh(home, 'mkdir -p tree/mnt; echo a > tree/a; mount -t tmpfs none tree/mnt')
  t.teardown(() => sh(home, 'umount tree/mnt'))
  t.is((await writePoint({ tree, points: home, name: 'p0' })).totals.problems, 1)
  t.is((await increment(home, tree, ['p0'], 'p1')).totals.problems, 1)
  const chain = await openChain(home, ['p0', 'p1'])
  const { totals } = await consolidate({ chain, sink: new LocalSink(home, 'whole'), scratch: home }, calm)
  t.is(totals.problems, 1)
  await closeChain(chain)
})

test('a directory is listed in pages over a chain, and searched', async (t) => {
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  sh(
    home,
    'mkdir -p tree/big tree/other tree/empty; cd tree; i=0; while [ $i -lt 2500 ]; do : > big/f$i; i=$((i+1)); done; : > file; : > big.txt; : > other/x',
  )
  await writePoint({ tree, points: home, name: 'p0' })
  sh(tree, 'rm file; : > added; rm -r other')
  await increment(home, tree, ['p0'], 'p1')
  const chain = await openChain(home, ['p0', 'p1'])
  const seen: string[] = []
  let cursor: string | undefined
  do {
    const page = await listDirectory(
      chain,
      { path: '', limit: 2, ...(cursor === undefined ? {} : { cursor }) },
      calm.signal,
    )
    seen.push(...page.members.map(({ path }) => path))
    cursor = page.next
  } while (cursor !== undefined)
  t.deepEqual(seen, ['added', 'big', 'big.txt', 'empty'])
  t.deepEqual((await listDirectory(chain, { path: 'empty', limit: 9 }, calm.signal)).members, [])
  await t.throwsAsync(listDirectory(chain, { path: 'other', limit: 9 }, calm.signal), { code: 'not_found' })
  await t.throwsAsync(listDirectory(chain, { path: 'added', limit: 9 }, calm.signal), { code: 'conflict' })
  const found = await search(chain, { text: 'F249', limit: 99 }, calm.signal)
  t.is(found.members.length, 11)

  // When it is time to answer, a page tells what it has, and the next goes on behind that.
  const late = { limit: 99, untilMs: 0 }
  const short = await listDirectory(chain, { path: '', ...late }, calm.signal)
  t.deepEqual(
    short.members.map(({ path }) => path),
    ['added', 'big'],
  )
  const rest = await listDirectory(chain, { path: '', ...late, cursor: short.next ?? '' }, calm.signal)
  t.deepEqual([rest.members.map(({ path }) => path), rest.next], [['big.txt', 'empty'], undefined])
  const names: string[] = []
  for (let from: string | undefined = 'big/f2490'; from !== undefined; ) {
    const page: Page = await search(chain, { text: 'F249', cursor: from, ...late }, calm.signal)
    t.true(page.members.length <= 1)
    names.push(...page.members.map(({ path }) => path))
    from = page.next
  }
  t.deepEqual(
    names,
    found.members.slice(1).map(({ path }) => path),
  )
  await closeChain(chain)
})

test('a search looks at names alone: what lies in a directory of that name is not found for it', async (t) => {
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  sh(
    home,
    'mkdir -p tree/Été/sub tree/other; cd tree; : > Été/plain; : > other/mi-été; : > "$(printf "other/\\351t\\351")"',
  )
  await writePoint({ tree, points: home, name: 'p0' })
  const chain = await openChain(home, ['p0'])
  const found = async (text: string) =>
    (await search(chain, { text, limit: 99 }, calm.signal)).members.map(({ path }) => displayPath(path))
  t.deepEqual(await found('ÉTÉ'), ['other/mi-été', 'Été'])
  t.deepEqual(await found('SUB'), ['Été/sub'])
  t.deepEqual(await found('other/mi'), [])
  await closeChain(chain)
})

const name = fc.constantFrom('a', 'b', 'a-', 'a.b', 'é', 'A')
const step = fc.oneof(
  fc.record({
    act: fc.constant('file' as const),
    at: fc.array(name, { minLength: 1, maxLength: 3 }),
    size: fc.integer({ min: 0, max: 9_000 }),
  }),
  fc.record({
    act: fc.constant('remove' as const),
    at: fc.array(name, { minLength: 1, maxLength: 2 }),
    size: fc.constant(0),
  }),
  fc.record({
    act: fc.constant('directory' as const),
    at: fc.array(name, { minLength: 1, maxLength: 3 }),
    size: fc.constant(0),
  }),
  fc.record({
    act: fc.constant('link' as const),
    at: fc.array(name, { minLength: 1, maxLength: 2 }),
    size: fc.constant(0),
  }),
  fc.record({
    act: fc.constant('move' as const),
    at: fc.array(name, { minLength: 2, maxLength: 2 }),
    size: fc.constant(0),
  }),
)

test('whatever happens to a tree, a chain of its points is the tree', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(step, { maxLength: 8 }), { minLength: 2, maxLength: 3 }), async (rounds) => {
      const home = temporaryDirectory(t)
      const tree = join(home, 'tree')
      mkdirSync(tree)
      const names: string[] = []
      for (const [round, steps] of rounds.entries()) {
        for (const { act, at, size } of steps) {
          const path = at.join('/')
          const acts = {
            file: `mkdir -p "$(dirname '${path}')" && head -c ${size} /dev/zero | tr '\\0' ${round} > '${path}'`,
            remove: `rm -rf '${path}'`,
            directory: `mkdir -p '${path}'`,
            link: `ln "$(find . -type f | LC_ALL=C sort | head -1)" '${path}'`,
            move: `mv '${at[0]}' '${at[1]}'`,
          }
          execFileSync('/bin/sh', ['-c', `${acts[act]} || :`], { cwd: tree, stdio: 'pipe' })
        }
        const next = `p${round}`
        if (round === 0) await writePoint({ tree, points: home, name: next })
        else await increment(home, tree, names, next)
        names.push(next)
      }
      const expected = describeTree(tree)
      await extractTo(join(home, 'back'), { points: home, names })
      const wrong = differences(describeTree(join(home, 'back')), expected)
      if (wrong.length > 0) throw new Error(wrong.join('\n'))
      runRestoreScript(join(home, names.at(-1) ?? ''), join(home, 'by-script'), join(home, 'bin'))
      const different = differences(describeTree(join(home, 'by-script')), expected)
      if (different.length > 0) throw new Error(`script: ${different.join('\n')}`)
    }),
    { numRuns: 8 },
  )
  t.pass()
})
